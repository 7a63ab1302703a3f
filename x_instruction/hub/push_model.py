"""Publishing a trained model: files, card and results in one commit, loaded back before anybody is told of success."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, RepoFile
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import disable_progress_bars

from x_instruction.cards.model import license_of
from x_instruction.errors import HubError, RecipeError
from x_instruction.hub.model_folder import Model, checked
from x_instruction.hub.publish import answered
from x_instruction.hub.retry import Log, status_of, with_retries
from x_instruction.hub.tags_and_collections import check_tag_free, set_tag
from x_instruction.hub.target import MAIN, RepoTarget, check_tag, resolve_target

KIND = "model"
# Files of an older push that a newer one would leave behind: readers would take them for part of the model.
_OURS = (".safetensors", ".safetensors.index.json", ".bin", "adapter_config.json")


class ModelTarget(RepoTarget):
    """A model on the Hub, and the branch of it to publish on."""

    @property
    def url(self) -> str:
        """Address of the model's page."""
        return f"{self.api.endpoint}/{self.repo}"

    def ask(self, call: str, **arguments: Any) -> Any:
        """A call of the client about this model, tried again while the server is busy."""
        return with_retries(lambda: getattr(self.api, call)(self.repo, repo_type=KIND, **arguments), self.told)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """What somebody asks for.

    Args:
        folder: that holds the model.
        repo: its id on the Hub.
        private: whether only its owners see it; None takes what the owner's settings say.
        create_pr: leave a pull request instead of changing the branch.
        revision: branch, or ``refs/pr/N``.
        tag: names the published revision; None for none.
        base_license, base_license_link: of the base, where its record does not say them; else empty.
    """

    folder: Path
    repo: str
    private: bool | None = None
    create_pr: bool = False
    revision: str = MAIN
    tag: str | None = None
    base_license: str = ""
    base_license_link: str = ""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A wish that can be fulfilled.

    Args:
        texts: path to content of what is made here: card, results, and the record where something was stated.
        head: commit that is there now; None for a model that is not.
        branch: whether the branch is there.
        public: whether everybody sees what is there.
        deleted: files of an older push that go.
    """

    wish: ModelRequest
    model: Model
    target: ModelTarget
    texts: dict[str, bytes]
    head: str | None
    branch: bool
    public: bool
    deleted: list[str]

    def lines(self) -> list[str]:
        """What would be done, for a person."""
        one = self.model.facts.training
        kind = "adapter" if self.model.adapter else "model"
        new = "new" if self.head is None else f"on top of {self.head[:12]}"
        sizes = {path: (self.model.folder / path).stat().st_size for path in self.model.files}
        sizes |= {path: len(content) for path, content in self.texts.items()}
        return [
            f"{kind} of {one.base_model} to {self.target.url}, {self.wish.revision} ({new})",
            f"licence of {one.base_model}: {license_of(one).get('license_name', license_of(one)['license'])}",
            *(f"  + {path}  {size:,} bytes" for path, size in sorted(sizes.items())),
            *(f"  - {path}" for path in self.deleted),
        ]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was published: address and commit, the pull request that was left, or None, and what holds of it."""

    url: str
    head: str
    pull: str | None
    holds: str


def prepare(wish: ModelRequest, told: Log) -> ModelPlan:
    """Check everything that can be checked without writing.

    Raises:
        RecipeError: an option or a folder that cannot be.
        HubError: the Hub refuses, or something else has the name.
    """
    if wish.tag is not None:
        check_tag(wish.tag)
    if wish.create_pr and (wish.revision != MAIN or wish.tag is not None):
        raise RecipeError("--create-pr opens a pull request to the main branch: leave out --revision and --tag")
    found = resolve_target(wish.repo, wish.revision, told)
    where = ModelTarget(found.api, found.repo, found.revision, found.told)
    model = checked(wish.folder, wish.base_license, wish.base_license_link)
    texts = model.texts(wish.repo)
    with answered(where):
        head, branch, public, held = _look(where)
        if head is not None:
            _check_right(where)
            if wish.tag is not None:
                check_tag_free(where, wish.tag, None, move=False)
    sent = {*model.files, *texts}
    deleted = sorted(path for path in held - sent if "/" not in path and path.endswith(_OURS))
    deleted += sorted(path for path in held - sent if path.startswith(".eval_results/"))
    return ModelPlan(wish, model, where, texts, head, branch, public, deleted)


def push(prepared: ModelPlan, same: Callable[[Model, str, str], str]) -> Pushed:
    """Send the large files, show everything by one commit, and load it back.

    Args:
        prepared: what to do.
        same: reads the model from its id and a revision, compares it with the folder's and says what holds of it;
            raises ``HubError``.

    Raises:
        HubError: the Hub refused, somebody else was quicker, or what was published is something else.
    """
    disable_progress_bars()
    wish, where = prepared.wish, prepared.target
    with answered(where):
        head = prepared.head
        if head is None:
            where.api.create_repo(wish.repo, repo_type=KIND, private=wish.private, exist_ok=True)
            head = str(where.ask("repo_info").sha)
        elif wish.private and prepared.public:
            where.ask("update_repo_settings", private=True)
        if wish.revision != MAIN and not prepared.branch:
            where.ask("create_branch", branch=wish.revision, revision=head, exist_ok=True)
        done = _commit(prepared, head)
        where.told(f"loading back {done.oid[:12]}")
    holds = same(prepared.model, wish.repo, str(done.oid))
    with answered(where):
        if wish.tag is not None:
            set_tag(where, wish.tag, str(done.oid), move=False)
    return Pushed(f"{where.url}/tree/{done.oid}", str(done.oid), done.pr_url, holds)


def _commit(prepared: ModelPlan, head: str) -> Any:
    wish, where, folder = prepared.wish, prepared.target, prepared.model.folder
    added = [CommitOperationAdd(path, str(folder / path)) for path in prepared.model.files]
    added += [CommitOperationAdd(path, content) for path, content in prepared.texts.items()]
    options = {"repo_type": KIND, "revision": wish.revision, "create_pr": wish.create_pr}
    # Freed operations would be empty when a busy server asks for them again.
    with_retries(
        lambda: where.api.preupload_lfs_files(wish.repo, added, free_memory=False, **options),
        where.told,
    )
    training = prepared.model.facts.training
    try:
        return where.api.create_commit(
            wish.repo,
            [*added, *map(CommitOperationDelete, prepared.deleted)],
            commit_message=f"Publish {'an adapter' if prepared.model.adapter else 'a model'} of {training.base_model}",
            parent_commit=head,
            **options,
        )
    except HfHubHTTPError as error:
        if status_of(error) not in (409, 412):
            raise
        raise HubError(
            f"{where.url} changed while the model was sent: run the same command again, what was uploaded is kept"
        ) from error


def _look(where: ModelTarget) -> tuple[str | None, bool, bool, set[str]]:
    """Head, whether the branch is there, whether everybody sees it, and the files that are published."""
    try:
        info, branch = where.ask("repo_info", revision=where.revision), True
    except RevisionNotFoundError as error:
        if where.is_pull:
            raise HubError(f"{where.repo} has no pull request {where.revision}: leave out --revision") from error
        info, branch = where.ask("repo_info", revision=MAIN), False
    except RepositoryNotFoundError as error:
        for kind in ("dataset", "space"):
            if where.api.repo_exists(where.repo, repo_type=kind):
                raise HubError(f"{where.repo} is a {kind} at {where.api.endpoint}: choose another name") from error
        return None, False, False, set()
    tree = where.api.list_repo_tree(where.repo, repo_type=KIND, revision=info.sha, recursive=True)
    return str(info.sha), branch, not info.private, {entry.path for entry in tree if isinstance(entry, RepoFile)}


def _check_right(where: ModelTarget) -> None:
    try:
        where.ask("auth_check", write=True)
    except (HfHubHTTPError, RepositoryNotFoundError) as error:
        if status_of(error) not in (401, 403, 404):
            raise
        raise HubError(f"this token may not write to {where.url}: ask its owners, or use another name") from error
