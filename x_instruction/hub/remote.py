"""What is published now, at one commit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import RepoFile
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from x_instruction.errors import HubError
from x_instruction.hub.client import MAIN, RepoTarget
from x_instruction.hub.retry import with_retries


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file.

    Args:
        size: Bytes.
        digest: SHA-256 of a file in large file storage, git's SHA-1 of a regular one.
    """

    size: int
    digest: str

    @property
    def has_sha256(self) -> bool:
        """True if the server knows the SHA-256 of the content."""
        return len(self.digest) == 64


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository as it is published.

    Args:
        head: Commit; None if the repository does not exist.
        branch: Whether the branch exists. A new one begins at ``head``.
        private: Whether the repository is private.
        files: Path to file.
    """

    head: str | None = None
    branch: bool = False
    private: bool = False
    files: dict[str, RemoteFile] = field(default_factory=dict)


def look(target: RepoTarget) -> Remote:
    """List what is published at a revision.

    Raises:
        HubError: The name belongs to a repository of another type, or the pull request does not exist.
    """
    try:
        info, branch = target.call("repo_info", revision=target.revision), True
    except RevisionNotFoundError as error:
        if target.is_pull_request:
            raise HubError(f"{target.repo} has no pull request {target.revision}: leave out --revision") from error
        info, branch = target.call("repo_info", revision=MAIN), False
    except RepositoryNotFoundError:
        _check_other_types(target)
        return Remote()
    head = str(info.sha)
    listing = with_retries(lambda: list(_tree(target, head)), target.log)
    files = {file.path: RemoteFile(file.size, file.lfs.sha256 if file.lfs else file.blob_id) for file in listing}
    return Remote(head, branch, bool(info.private), files)


def _tree(target: RepoTarget, head: str) -> list[RepoFile]:
    entries = target.api.list_repo_tree(target.repo, repo_type=target.repo_type, revision=head, recursive=True)
    return [entry for entry in entries if isinstance(entry, RepoFile)]


def fetch(target: RepoTarget, path: str, revision: str) -> bytes:
    """Download a small file, bypassing the client's cache."""
    with tempfile.TemporaryDirectory() as folder:
        return Path(target.call("hf_hub_download", filename=path, revision=revision, local_dir=folder)).read_bytes()


def _check_other_types(target: RepoTarget) -> None:
    """A name that already belongs to a repository of another type is most likely a slip."""
    for repo_type in {"dataset", "model", "space"} - {target.repo_type}:
        exists = with_retries(
            lambda repo_type=repo_type: target.api.repo_exists(target.repo, repo_type=repo_type),  # type: ignore[misc]
            target.log,
        )
        if exists:
            raise HubError(
                f"{target.repo} is a {repo_type} at {target.api.endpoint}, not a {target.repo_type}: "
                "choose another name"
            )
