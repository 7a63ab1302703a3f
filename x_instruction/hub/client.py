"""The client of one repository on the Hub: checked names, a checked token, and refusals in plain words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from x_instruction import __version__
from x_instruction.errors import HubError, RecipeError
from x_instruction.hub.retry import MOVED, Log, is_temporary, reason, status_of, with_retries

RepoType = Literal["dataset", "model"]
MAIN = "main"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_PULL_REQUEST = re.compile(r"refs/pr/[1-9][0-9]*")
# What git forbids in the name of a branch or tag (git-check-ref-format).
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/.-]|[/.]$|^@$|/\.|\.lock(/|$)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class RepoTarget:
    """A repository on the Hub and the revision to publish on.

    Args:
        api: The client. It finds the token by itself.
        repo: Repository id, ``namespace/name``.
        repo_type: ``dataset`` or ``model``.
        revision: Branch, or ``refs/pr/N``.
        log: Receives one line of progress at a time.
    """

    api: HfApi
    repo: str
    repo_type: RepoType
    revision: str
    log: Log

    @property
    def url(self) -> str:
        """Address of the repository's page."""
        return f"{self.api.endpoint}/{'datasets/' if self.repo_type == 'dataset' else ''}{self.repo}"

    @property
    def is_pull_request(self) -> bool:
        """True if the revision is a pull request."""
        return bool(_PULL_REQUEST.fullmatch(self.revision))

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the client for this repository, with retries while the server is busy."""
        return with_retries(
            lambda: getattr(self.api, method)(self.repo, repo_type=self.repo_type, **arguments), self.log
        )

    def at(self, revision: str) -> RepoTarget:
        """The same repository at another revision."""
        return replace(self, revision=revision)


def check_repo(repo: str) -> None:
    """Check that the Hub accepts a repository id.

    Raises:
        RecipeError: It does not.
    """
    namespace, slash, name = repo.partition("/")
    if not slash or "/" in name:
        raise RecipeError(f"{repo!r} is not a repository id: expected NAMESPACE/NAME, such as my-org/my-data")
    for part in (namespace, name):
        if not _NAME.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            raise RecipeError(
                f"{repo!r} is not a name that the Hub accepts: {part!r} may hold letters, digits, '-', '_' and '.', at "
                "most 96 of them, without '--' or '..', and may neither begin nor end with '-' or '.'"
            )


def check_revision(revision: str) -> None:
    """Check that commits can be made on a revision.

    Raises:
        RecipeError: They cannot.
    """
    if _COMMIT.fullmatch(revision):
        raise RecipeError(f"--revision {revision!r} is a commit, and commits cannot change: name a branch")
    if _BAD_REF.search(revision) or not revision:
        raise RecipeError(f"--revision {revision!r} is not a valid branch name: expected a name such as main")
    if revision.startswith("refs/") and not _PULL_REQUEST.fullmatch(revision):
        raise RecipeError(f"--revision {revision!r} is neither a branch nor a pull request such as refs/pr/3")


def check_tag(tag: str) -> None:
    """Check that git accepts the name of a tag.

    Raises:
        RecipeError: It does not.
    """
    if not tag or _BAD_REF.search(tag) or tag.startswith("refs/") or _COMMIT.fullmatch(tag):
        raise RecipeError(f"--tag {tag!r} is not a valid tag name: expected a name such as v1.0.0")


def resolve_target(repo: str, repo_type: RepoType, revision: str, log: Log) -> RepoTarget:
    """The repository of an id, for a token that may write.

    Raises:
        RecipeError: The Hub does not accept a name.
        HubError: Offline, or the token is missing, unknown or read-only.
    """
    check_repo(repo)
    check_revision(revision)
    if constants.HF_HUB_OFFLINE:
        raise HubError("HF_HUB_OFFLINE is set, and publishing needs the Hub: unset it and rerun the same command")
    if get_token() is None:
        raise HubError(
            f"no token for {constants.ENDPOINT}: run `hf auth login`, or set HF_TOKEN to a token with write access"
        )
    api = HfApi(library_name="x_instruction", library_version=__version__)
    try:
        account = with_retries(api.whoami, log)
    except HfHubHTTPError as error:
        if status_of(error) not in (401, 403):
            raise
        raise HubError(
            f"{api.endpoint} does not know this token: create a new one, then run `hf auth login`"
        ) from error
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HubError(
            f"the token of {account['name']} is read-only at {api.endpoint}: use one with write access to {repo}"
        )
    return RepoTarget(api, repo, repo_type, revision, log)


def check_write_access(target: RepoTarget) -> None:
    """Ask the server whether the token may write to an existing repository.

    Raises:
        HubError: It may not.
    """
    try:
        target.call("auth_check", write=True)
    except (HfHubHTTPError, RepositoryNotFoundError) as error:
        if status_of(error) not in (401, 403, 404):
            raise
        raise HubError(
            f"this token has no write access to {target.url}: ask its owners for access, or use another name or token"
        ) from error


@contextlib.contextmanager
def explain_refusals(target: RepoTarget) -> Iterator[None]:
    """Turn a server's refusal into a ``HubError``. Any other error is a defect and keeps its traceback."""
    try:
        yield
    except (HfHubHTTPError, httpx2.TransportError, OSError, RuntimeError, ValueError) as error:
        status = status_of(error)
        if status in (401, 403):
            raise HubError(
                f"this token has no permission for that at {target.url} ({reason(error)}): use one that has"
            ) from error
        if status == 404:
            raise HubError(f"{target.url} does not exist, or this token cannot see it ({reason(error)})") from error
        if not is_temporary(error, MOVED):
            if status is None:
                raise
            raise HubError(f"{target.url}: {reason(error)}; readers still see the previous revision") from error
        raise HubError(
            f"{target.url}: {reason(error)}. Rerun the same command: uploaded files are kept, and readers see either "
            "the old revision or the new one"
        ) from error
