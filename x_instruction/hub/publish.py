"""Publishing a data set or a model: ``prepare`` checks and compares without writing, ``execute`` publishes.

from x_instruction.hub.publish import DatasetOptions, ModelOptions, PublishRequest, execute, prepare
from x_instruction.hub.summary import plan_lines, result_line

request = PublishRequest(folder=folder, repo="my-org/my-data", options=DatasetOptions(replace_card=False))
request = PublishRequest(folder=folder, repo="my-org/my-model", options=ModelOptions(base_license="mit"))
plan = prepare(request, log=print)      # raises before anything is written
for line in plan_lines(plan):
    print(line)
published = execute(plan)               # url, head, revision, pull_request, verified
print(result_line(published))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.utils import disable_progress_bars

from x_instruction.errors import RecipeError
from x_instruction.hub import pull_requests, tags_and_collections
from x_instruction.hub.client import (
    MAIN,
    RepoTarget,
    check_tag,
    check_write_access,
    explain_refusals,
    resolve_target,
)
from x_instruction.hub.dataset import DatasetOptions
from x_instruction.hub.model import ModelOptions
from x_instruction.hub.plan import Changes, Content
from x_instruction.hub.retry import Log, with_retries
from x_instruction.hub.upload import Upload, check_not_moved, commit

__all__ = ["DatasetOptions", "ModelOptions", "PublishPlan", "PublishRequest", "Published", "execute", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequest:
    """A folder, a repository and how to publish the one in the other.

    Args:
        folder: A data set that ``build`` wrote, or a trained model.
        repo: Repository id, ``namespace/name``.
        options: Options of the one kind or the other. They decide which of the two is published.
        private: Whether the repository is private. None leaves it, or follows the owner's settings for a new one.
        create_pr: Leave a pull request open instead of changing the branch.
        revision: Branch, or ``refs/pr/N``.
        tag: Tag for the published revision.
        move_tag: Whether a tag on another revision may be moved.
        collection: Title or slug of a collection to add it to.
    """

    folder: Path
    repo: str
    options: DatasetOptions | ModelOptions
    private: bool | None = None
    create_pr: bool = False
    revision: str = MAIN
    tag: str | None = None
    move_tag: bool = False
    collection: str | None = None


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """A request that can be fulfilled, and what it would change.

    Args:
        request: The request.
        content: The checked folder.
        target: The repository and revision.
        changes: The comparison with what is published.
        tagged: The commit that the tag names now, or None.
        collection_exists: Whether the collection exists.
    """

    request: PublishRequest
    content: Content
    target: RepoTarget
    changes: Changes
    tagged: str | None
    collection_exists: bool


@dataclass(frozen=True, slots=True)
class Published:
    """What was published.

    Args:
        url: Address of the revision.
        head: The commit.
        revision: Branch or pull request that it is the head of.
        pull_request: Address of the pull request that was left open, or None.
        verified: What was verified and how to use it, in one line.
    """

    url: str
    head: str
    revision: str
    pull_request: str | None
    verified: str


def prepare(request: PublishRequest, log: Log) -> PublishPlan:
    """Check everything that can be checked without writing, and compare.

    Args:
        request: What to publish.
        log: Receives one line of progress at a time, here and in ``execute``.

    Raises:
        RecipeError: An option or a model's folder is invalid.
        ShardError: A data set's folder is not what was built.
        HubError: The Hub refuses, or what is published is in the way.
    """
    if request.tag is not None:
        check_tag(request.tag)
    if request.create_pr and (request.revision != MAIN or request.tag is not None):
        raise RecipeError(
            "--create-pr opens a pull request to the main branch: leave out --revision and --tag, "
            "and set the tag once it is merged"
        )
    target = resolve_target(request.repo, request.options.repo_type, request.revision, log)
    content = request.options.check(request.folder, request.repo)
    with explain_refusals(target):
        changes = content.compare(target)
        head = changes.remote.head
        # A token that may not write can still open a pull request.
        if head is not None and not request.create_pr:
            check_write_access(target)
        tagged = None
        if request.tag is not None and head is not None:
            tagged = tags_and_collections.check_tag_free(
                target, request.tag, None if changes.size else head, request.move_tag
            )
        collection_exists = (
            request.collection is not None
            and tags_and_collections.find_collection(target, request.collection) is not None
        )
    return PublishPlan(request, content, target, changes, tagged, collection_exists)


def execute(plan: PublishPlan) -> Published:
    """Publish, read back what was published, and only then tag it and make it public.

    Raises:
        MissingExtra: Reading back needs a package that is not installed. Nothing was written.
        HubError: It could not be done, or what is published is not what was sent.
    """
    plan.content.check_readback()
    disable_progress_bars()
    target, pull_request = plan.target, None
    sent: list[str] = []
    with explain_refusals(target):
        _create(plan)
        changes = plan.content.compare(target)
        check_not_moved(target, plan.changes.remote.head, changes)
        if plan.request.create_pr and changes.size:
            target, pull_request = pull_requests.pull_request(target, changes)
            changes, head = pull_requests.fill(target, plan.content.compare, sent)
        elif pull_requests.is_needed(target, changes):
            changes, head = pull_requests.by_pull_request(target, plan.content.compare, sent)
        else:
            upload = Upload(target)
            changes, head = commit(target, upload, changes, lambda: plan.content.compare(target))
            sent += upload.sent
        target.log(f"reading back {head[:12]}")
        verified = plan.content.read_back(target, changes, head, sent)
        if pull_request is not None:
            pull_requests.open_for_review(target)
        _announce(plan, head)
    return Published(f"{target.url}/tree/{head}", head, target.revision, pull_request, verified)


def _create(plan: PublishPlan) -> None:
    """Create the repository or the branch if it does not exist, and hide what is to be private before it is filled."""
    request, target, remote = plan.request, plan.target, plan.changes.remote
    if remote.head is None:
        with_retries(
            lambda: target.api.create_repo(
                request.repo, repo_type=target.repo_type, private=request.private, exist_ok=True
            ),
            target.log,
        )
    elif request.private and not remote.private:
        target.call("update_repo_settings", private=True)
    if target.revision != MAIN and not remote.branch and not target.is_pull_request:
        target.call("create_branch", branch=target.revision, exist_ok=True)


def _announce(plan: PublishPlan, head: str) -> None:
    """Make it public, tag it, add it to the collection: last, so that readers who follow them find it complete."""
    request, target = plan.request, plan.target
    if request.private is False and plan.changes.remote.private:
        target.call("update_repo_settings", private=False)
    if request.tag is not None:
        tags_and_collections.set_tag(target, request.tag, head, request.move_tag)
    if request.collection is not None:
        tags_and_collections.add_to_collection(target, request.collection)
