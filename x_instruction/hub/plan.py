"""What publishing would change: a comparison of local files with published ones. Nothing here writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from x_instruction.hub.client import RepoTarget, RepoType
from x_instruction.hub.remote import Remote, RemoteFile

# A file that is read when it is sent, or the content of one that publishing writes, such as the card.
Source = Path | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one publication changes in a repository.

    Args:
        remote: What is published now. The commit is made on top of its head.
        files: Path to SHA-256 of every file that the revision must hold afterwards.
        added, updated: Path to what is sent.
        deleted: Paths that are removed.
        unchanged: Paths of local files that are published already.
        title: Message of the commit.
        mergeable: Whether a commit that another publisher made meanwhile can be kept beside this one.
        notes: What changes for readers, a line each.
    """

    remote: Remote
    files: Mapping[str, str]
    added: dict[str, Source]
    updated: dict[str, Source]
    deleted: list[str]
    unchanged: list[str]
    title: str
    mergeable: bool
    notes: tuple[str, ...] = ()

    @property
    def sent(self) -> dict[str, Source]:
        """Every file that is sent."""
        return self.added | self.updated

    @property
    def size(self) -> int:
        """Number of operations in a commit."""
        return len(self.added) + len(self.updated) + len(self.deleted)


class Content(Protocol):
    """What is published: a data set or a model, in a folder that was checked.

    The publishing path is the same for both. What differs is here: which files belong to it, what it may replace, and
    how it is read back.
    """

    repo_type: ClassVar[RepoType]

    def compare(self, target: RepoTarget) -> Changes:
        """Compare with what is published at a revision now.

        Raises:
            HubError: Published work would be lost or mixed up.
        """

    def describe(self, changes: Changes) -> list[str]:
        """The files of a publication, a line for each group of them."""

    def check_readback(self) -> None:
        """Check that the packages that ``read_back`` needs are installed.

        Raises:
            MissingExtra: One is not.
        """

    def read_back(self, target: RepoTarget, changes: Changes, head: str, sent: Iterable[str]) -> str:
        """Download a published commit and compare it with the folder.

        Args:
            target: Where it was published.
            changes: The last comparison. ``files`` is what the commit must hold.
            head: The commit.
            sent: Paths of the large files that were sent.

        Returns:
            What was verified and how to use it, in one line.

        Raises:
            HubError: Something differs. The message names it.
        """


def compare_files(
    remote: Remote,
    sources: Mapping[str, Source],
    digests: Mapping[str, str],
    deleted: Iterable[str],
    *,
    title: str,
    mergeable: bool,
    notes: Iterable[str] = (),
) -> Changes:
    """Sort local files into those that are new, changed and published already.

    Args:
        remote: What is published now.
        sources: Path to local file or content.
        digests: Path to SHA-256 of every file that the revision must hold afterwards.
        deleted: Published paths to remove.
        title, mergeable, notes: As in ``Changes``.
    """
    added: dict[str, Source] = {}
    updated: dict[str, Source] = {}
    unchanged = []
    for path, source in sources.items():
        published = remote.files.get(path)
        if published is None:
            added[path] = source
        elif _is_equal(published, source, digests[path]):
            unchanged.append(path)
        else:
            updated[path] = source
    return Changes(
        remote=remote,
        files=digests,
        added=added,
        updated=updated,
        deleted=list(deleted),
        unchanged=unchanged,
        title=title,
        mergeable=mergeable,
        notes=tuple(notes),
    )


def _is_equal(published: RemoteFile, source: Source, sha256: str) -> bool:
    if published.has_sha256:
        return published.digest == sha256
    # Regular files are known by git's own digest. Sizes first, so that a large file is not read for nothing.
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if published.size != size:
        return False
    data = source.read_bytes() if isinstance(source, Path) else source
    return published.digest == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def source_size(source: Source) -> int:
    """Bytes of a file or of content."""
    return source.stat().st_size if isinstance(source, Path) else len(source)
