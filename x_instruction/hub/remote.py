"""What is published now, at one commit."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import RepoFile
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from x_instruction.builders.layout import README
from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.schema import DATA
from x_instruction.errors import HubError
from x_instruction.hub.retry import with_retries
from x_instruction.hub.target import KIND, MAIN, RepoTarget


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file.

    Args:
        size: bytes.
        digest: SHA-256 of a large file, git's own SHA-1 of another.
    """

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A data set as it is published.

    Args:
        head: commit; None where there is no such data set.
        branch: whether the branch is there; a new one begins at ``head``.
        private: whether not everybody sees it.
        files: path to file.
        manifest: what was published by this package, or None.
        card: SHA-256 of the README, or None.
    """

    head: str | None = None
    branch: bool = False
    private: bool = False
    files: dict[str, RemoteFile] = field(default_factory=dict)
    manifest: Manifest | None = None
    card: str | None = None

    def rows_of(self, tag: str) -> list[str]:
        """Paths of the files in a language's folder."""
        return [path for path in self.files if path.startswith(f"{DATA}/{tag}/")]


def look(place: RepoTarget) -> Remote:
    """Read what is published at a place.

    Raises:
        HubError: it is a repository of another type, or its manifest is damaged.
    """
    try:
        info = place.ask("repo_info", revision=place.revision)
        branch = True
    except RevisionNotFoundError as error:
        if place.is_pull:
            raise HubError(f"{place.repo} has no pull request {place.revision}: leave out --revision") from error
        info, branch = place.ask("repo_info", revision=MAIN), False
    except RepositoryNotFoundError:
        _other_type(place)
        return Remote()
    head = str(info.sha)
    listed = with_retries(lambda: list(_tree(place, head)), place.told)
    files = {one.path: RemoteFile(one.size, one.lfs.sha256 if one.lfs else one.blob_id) for one in listed}
    manifest = _manifest(place, head) if MANIFEST in files else None
    card = hashlib.sha256(fetch(place, README, head)).hexdigest() if README in files else None
    return Remote(head, branch, bool(info.private), files, manifest, card)


def _tree(place: RepoTarget, head: str) -> list[RepoFile]:
    entries = place.api.list_repo_tree(place.repo, repo_type=KIND, revision=head, recursive=True)
    return [entry for entry in entries if isinstance(entry, RepoFile)]


def fetch(place: RepoTarget, path: str, revision: str) -> bytes:
    """A small file, by its way through the client but past its cache."""
    with tempfile.TemporaryDirectory() as folder:
        return Path(place.ask("hf_hub_download", filename=path, revision=revision, local_dir=folder)).read_bytes()


def _manifest(place: RepoTarget, head: str) -> Manifest:
    try:
        return Manifest.parse(fetch(place, MANIFEST, head))
    except ValueError as error:
        raise HubError(
            f"{place.url} has a {MANIFEST} that cannot be read ({error}), so what it holds cannot be kept: "
            "publish under another name, or remove the file there"
        ) from error


def _other_type(place: RepoTarget) -> None:
    """A name that stands for a model or a Space already is most likely a slip."""
    for kind in ("model", "space"):
        if with_retries(lambda kind=kind: place.api.repo_exists(place.repo, repo_type=kind), place.told):  # type: ignore[misc]
            raise HubError(f"{place.repo} is a {kind} at {place.api.endpoint} and no data set: choose another name")
