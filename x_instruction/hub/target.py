"""Where to publish to: an id that the Hub takes, a token that may write there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from x_instruction import __version__
from x_instruction.errors import HubError, RecipeError
from x_instruction.hub.retry import Log, status_of, with_retries

KIND = "dataset"
MAIN = "main"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_PULL = re.compile(r"refs/pr/[1-9][0-9]*")
# What git forbids in the name of a branch or tag (git-check-ref-format).
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/.-]|[/.]$|^@$|/\.|\.lock(/|$)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class RepoTarget:
    """A data set on the Hub, and the branch of it to publish on.

    Args:
        api: the client; it finds the token by itself.
        repo: ``namespace/name``.
        revision: branch, or ``refs/pr/N``.
        told: is told what goes on.
    """

    api: HfApi
    repo: str
    revision: str
    told: Log

    @property
    def url(self) -> str:
        """Address of the data set's page."""
        return f"{self.api.endpoint}/datasets/{self.repo}"

    @property
    def is_pull(self) -> bool:
        """Whether the revision is a pull request."""
        return bool(_PULL.fullmatch(self.revision))

    def ask(self, call: str, **arguments: Any) -> Any:
        """A call of the client about this data set, tried again while the server is busy."""
        return with_retries(lambda: getattr(self.api, call)(self.repo, repo_type=KIND, **arguments), self.told)

    def at(self, revision: str) -> RepoTarget:
        """The same data set at another revision."""
        return RepoTarget(self.api, self.repo, revision, self.told)


def check_repo(repo: str) -> None:
    """An id must be one that the Hub takes.

    Raises:
        RecipeError: it is not.
    """
    namespace, slash, name = repo.partition("/")
    if not slash or "/" in name:
        raise RecipeError(f"{repo!r} is no data set's id: wanted NAMESPACE/NAME, as my-org/my-data")
    for part in (namespace, name):
        if not _NAME.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            raise RecipeError(
                f"{repo!r} is no name that the Hub takes: {part!r} may hold letters, digits, '-', '_' and '.', at most "
                "96 of them, without '--' or '..', and neither begin nor end with '-' or '.'"
            )


def check_revision(revision: str) -> None:
    """A revision must be one that takes commits.

    Raises:
        RecipeError: it is not.
    """
    if _COMMIT.fullmatch(revision):
        raise RecipeError(f"revision {revision!r} is a commit, which takes nothing new: name a branch")
    if _BAD_REF.search(revision) or not revision:
        raise RecipeError(f"revision {revision!r} is no name that a branch may have: name one as main or refs/pr/3")
    if revision.startswith("refs/") and not _PULL.fullmatch(revision):
        raise RecipeError(f"revision {revision!r} is neither a branch nor a pull request (refs/pr/3)")


def check_tag(tag: str) -> None:
    """A tag must be one that git takes.

    Raises:
        RecipeError: it is not.
    """
    if not tag or _BAD_REF.search(tag) or tag.startswith("refs/") or _COMMIT.fullmatch(tag):
        raise RecipeError(f"tag {tag!r} is no name that a tag may have: name one as v1.0.0")


def resolve_target(repo: str, revision: str, told: Log) -> RepoTarget:
    """The place of a name, for who may come there.

    Raises:
        RecipeError: a name that the Hub does not take.
        HubError: offline, no token, a token that is none or that may only read.
    """
    check_repo(repo)
    check_revision(revision)
    if constants.HF_HUB_OFFLINE:
        raise HubError("HF_HUB_OFFLINE is set, and publishing needs the Hub: unset it and run the same command again")
    if get_token() is None:
        raise HubError(f"no token for {constants.ENDPOINT}: run `hf auth login`, or set HF_TOKEN to one that may write")
    found = RepoTarget(HfApi(library_name="x_instruction", library_version=__version__), repo, revision, told)
    try:
        person = with_retries(found.api.whoami, told)
    except HfHubHTTPError as error:
        if status_of(error) not in (401, 403):
            raise
        raise HubError(
            f"{found.api.endpoint} does not know this token: make a new one, then `hf auth login`"
        ) from error
    if person.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HubError(
            f"the token of {person['name']} may only read at {found.api.endpoint}: use one that may write to {repo}"
        )
    return found
