"""Publishing a built folder: everything is checked and compared first, and only then anything is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars

from x_instruction.errors import HubError, RecipeError
from x_instruction.hub import pull_requests, tags_and_collections
from x_instruction.hub.folder_check import Folder, checked
from x_instruction.hub.plan import Plan, plan
from x_instruction.hub.remote import look
from x_instruction.hub.retry import Log, passing, reason, status_of, with_retries
from x_instruction.hub.target import KIND, MAIN, RepoTarget, check_tag, resolve_target
from x_instruction.hub.upload import MOVED, Upload, commit
from x_instruction.hub.verify import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequest:
    """What somebody asks for.

    Args:
        folder: that ``build`` wrote.
        repo: id of the data set.
        private: whether only its owners see it; None leaves it, or takes what the owner's settings say.
        create_pr: leave a pull request instead of changing the branch.
        revision: branch, or ``refs/pr/N``.
        tag: names the published revision; None for none.
        move_tag: whether a tag that names another revision may be moved.
        collection: title or slug; None for none.
        replace_card: whether a card that a person changed may be replaced.
    """

    folder: Path
    repo: str
    private: bool | None = None
    create_pr: bool = False
    revision: str = MAIN
    tag: str | None = None
    move_tag: bool = False
    collection: str | None = None
    replace_card: bool = False


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """A wish that can be fulfilled, and what it would change."""

    wish: PublishRequest
    folder: Folder
    target: RepoTarget
    plan: Plan
    tag: str | None
    collection: bool

    def compare(self, at: RepoTarget) -> Plan:
        """What would change at a place now."""
        return plan(self.folder, look(at), self.wish.repo, self.wish.replace_card)


@dataclass(frozen=True, slots=True)
class Published:
    """What was published.

    Args:
        url: address of the revision.
        head: the commit.
        rows: language to number of rows, of all that the commit holds.
        default: the default config.
        revision: branch or pull request that it is the head of.
        pull: address of the pull request that was left, or None.
    """

    url: str
    head: str
    rows: dict[str, int]
    default: str
    revision: str
    pull: str | None = None


def prepare(wish: PublishRequest, told: Log) -> PublishPlan:
    """Check everything that can be checked without writing, and compare.

    Raises:
        RecipeError: an option that cannot be.
        ShardError: the folder is not what was built.
        HubError: the Hub refuses, or what is there is in the way.
    """
    if wish.tag is not None:
        check_tag(wish.tag)
    if wish.create_pr and (wish.revision != MAIN or wish.tag is not None):
        raise RecipeError(
            "--create-pr opens a pull request to the main branch: leave out --revision, and set --tag once it is merged"
        )
    where = resolve_target(wish.repo, wish.revision, told)
    folder = checked(wish.folder)
    with answered(where):
        found = plan(folder, look(where), wish.repo, wish.replace_card)
        # Who may only open pull requests can still leave one.
        if found.remote.head is not None and not wish.create_pr:
            _check_right(where)
        tag = None
        if wish.tag is not None and found.remote.head is not None:
            head = None if found.size else found.remote.head
            tag = tags_and_collections.check_tag_free(where, wish.tag, head, wish.move_tag)
        collection = (
            wish.collection is not None and tags_and_collections.find_collection(where, wish.collection) is not None
        )
    return PublishPlan(wish, folder, where, found, tag, collection)


def _check_right(where: RepoTarget) -> None:
    try:
        where.ask("auth_check", write=True)
    except (HfHubHTTPError, RepositoryNotFoundError) as error:
        if status_of(error) not in (401, 403, 404):
            raise
        raise HubError(
            f"this token may not write to {where.url}: ask its owners for the right, or use another name or token"
        ) from error


def execute(prepared: PublishPlan) -> Published:
    """Publish, download what was published, compare, and only then name it.

    Raises:
        HubError: it could not be done, or what is published is not what was sent.
    """
    disable_progress_bars()
    wish, where = prepared.wish, prepared.target
    pull, sent = None, list[str]()
    with answered(where):
        _create(prepared)
        now = prepared.compare(where)
        if wish.create_pr and now.size:
            where, pull = pull_requests.pull_request(where, now)
            done, head = pull_requests.fill(where, prepared.compare, sent)
        elif now.size > pull_requests.MOST and where.revision == MAIN:
            done, head = pull_requests.by_pull_request(where, prepared.compare, sent)
        else:
            upload = Upload(where)
            done, head = commit(where, upload, now, lambda: prepared.compare(where))
            sent += upload.sent
        where.told(f"reading back {head[:12]}")
        verify(where, done.manifest, [*sent, *_texts(done)], head)
        if pull is not None:
            pull_requests.open_for_review(where)
        _name(prepared, head)
    rows = {tag: one.rows for tag, one in done.manifest.sets().items()}
    return Published(f"{where.url}/tree/{head}", head, rows, done.manifest.default, where.revision, pull)


def _texts(done: Plan) -> list[str]:
    return [path for path in done.manifest.files if "/" not in path]


def _create(prepared: PublishPlan) -> None:
    """Make the data set or the branch where they are not there."""
    wish, where, remote = prepared.wish, prepared.target, prepared.plan.remote
    if remote.head is None:
        with_retries(
            lambda: where.api.create_repo(wish.repo, repo_type=KIND, private=wish.private, exist_ok=True), where.told
        )
    elif wish.private and not remote.private:
        where.ask("update_repo_settings", private=True)
    if where.revision != MAIN and not remote.branch and not where.is_pull:
        where.ask("create_branch", branch=where.revision, exist_ok=True)


def _name(prepared: PublishPlan, head: str) -> None:
    """What is told to others comes last: they must find it whole."""
    wish, where = prepared.wish, prepared.target
    if wish.private is False and prepared.plan.remote.private:
        where.ask("update_repo_settings", private=False)
    if wish.tag is not None:
        tags_and_collections.set_tag(where, wish.tag, head, wish.move_tag)
    if wish.collection is not None:
        tags_and_collections.put_into_collection(where, wish.collection)


@contextlib.contextmanager
def answered(where: RepoTarget) -> Iterator[None]:
    """Say what a server's refusal means; anything else is a defect and keeps its traceback."""
    try:
        yield
    except (HfHubHTTPError, httpx2.TransportError, OSError, RuntimeError, ValueError) as error:
        status = status_of(error)
        if status in (401, 403):
            raise HubError(f"this token may not do that at {where.url} ({reason(error)}): use one that may") from error
        if status == 404:
            raise HubError(f"{where.url} is not there, or this token may not see it ({reason(error)})") from error
        if not passing(error, MOVED):
            if status is None:
                raise
            raise HubError(f"{where.url}: {reason(error)}; readers see what they saw before") from error
        raise HubError(
            f"{where.url}: {reason(error)}. Run the same command again: what was uploaded is kept, and readers see "
            "the old revision or the new one"
        ) from error
