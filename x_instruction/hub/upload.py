"""Sending files: large ones first, which no reader sees, then one commit that shows all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError

from x_instruction.errors import HubError
from x_instruction.hub.client import RepoTarget
from x_instruction.hub.plan import Changes, source_size
from x_instruction.hub.retry import MOVED, is_temporary, status_of, wait_for, with_retries

TRIES = 40
MIB = 1 << 20


class Upload:
    """Files on their way to one repository. A file that was sent is not sent again, in this process or the next.

    Args:
        target: Where to.
    """

    def __init__(self, target: RepoTarget) -> None:
        self._target = target
        self._sent: dict[str, CommitOperationAdd] = {}

    def send(self, changes: Changes) -> None:
        """Send the large files. No reader sees them before the commit.

        They go in batches of a hundredth of the whole, and the server stores each batch when it is complete: an
        interrupted upload sends at most that much again. With Xet a batch is one upload of chunks, without it a list
        of files.
        """
        new = {
            path: source for path, source in changes.sent.items() if isinstance(source, Path) and path not in self._sent
        }
        sizes = {path: source_size(source) for path, source in new.items()}
        done, total = 0, sum(sizes.values())
        for batch in batches(sizes, max(MIB, total // 100)):
            operations = [CommitOperationAdd(path, str(new[path])) for path in batch]
            with_retries(lambda operations=operations: self._preupload(operations), self._target.log)  # type: ignore[misc]
            self._sent |= dict(zip(batch, operations, strict=True))
            before, done = done, done + sum(sizes[path] for path in batch)
            # One line for each tenth of the whole.
            if done == total or done * 10 // total > before * 10 // total:
                self._target.log(f"sent {done / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    def _preupload(self, operations: list[CommitOperationAdd]) -> None:
        # Freed operations would be empty when the server asks for them again.
        self._target.api.preupload_lfs_files(
            self._target.repo,
            operations,
            repo_type=self._target.repo_type,
            revision=self._target.revision,
            free_memory=False,
        )

    @property
    def sent(self) -> list[str]:
        """Paths of the files that were sent."""
        return list(self._sent)

    def operations(self, changes: Changes) -> list[CommitOperationAdd | CommitOperationDelete]:
        """The operations of a commit, large files by their digests."""
        operations: list[CommitOperationAdd | CommitOperationDelete] = []
        for path, source in changes.sent.items():
            operations.append(self._sent[path] if isinstance(source, Path) else CommitOperationAdd(path, source))
        return operations + [CommitOperationDelete(path) for path in changes.deleted]


def batches(sizes: dict[str, int], limit: int) -> Iterator[list[str]]:
    """Paths in batches of at most ``limit`` bytes, or of one larger file."""
    batch: list[str] = []
    batch_size = 0
    for path, size in sizes.items():
        if batch and batch_size + size > limit:
            yield batch
            batch, batch_size = [], 0
        batch.append(path)
        batch_size += size
    if batch:
        yield batch


def commit(target: RepoTarget, upload: Upload, changes: Changes, compare: Callable[[], Changes]) -> tuple[Changes, str]:
    """Publish changes by one commit on top of the head that they were compared with.

    If another publisher committed first, or an answer was lost, the comparison is made again. Their languages are kept
    beside ours, and what this call published already is not published twice.

    Args:
        target: Where to.
        upload: Sends the files.
        changes: What to do.
        compare: Compares anew.

    Returns:
        The changes that were made, and the commit that holds them.

    Raises:
        HubError: Others committed first every time, or once where their commit cannot be kept.
    """
    for attempt in range(TRIES):
        base = changes.remote.head
        if base is not None and not changes.size:
            return changes, base
        upload.send(changes)
        try:
            return changes, _commit(target, upload, changes)
        except (HfHubHTTPError, httpx2.TransportError, OSError) as error:
            if not is_temporary(error, MOVED):
                raise
            # A longer wait helps against a busy server, not against another publisher.
            wait_for(error, min(attempt, 3) if status_of(error) in MOVED else attempt, target.log)
        changes = compare()
        check_not_moved(target, base, changes)
    raise HubError(
        f"{target.url} changed {TRIES} times during this publication: rerun the same command, uploaded files are kept"
    )


def check_not_moved(target: RepoTarget, base: str | None, changes: Changes) -> None:
    """Refuse to commit on top of another publisher's commit where both cannot be kept.

    Args:
        target: The repository.
        base: The head that was compared with first; None for a new repository.
        changes: A later comparison.

    Raises:
        HubError: The head moved, and there is something left to commit.
    """
    if not changes.mergeable and changes.size and base is not None and changes.remote.head != base:
        raise HubError(
            f"{target.url} changed while the {target.repo_type} was sent: rerun the same command, "
            "uploaded files are kept"
        )


def _commit(target: RepoTarget, upload: Upload, changes: Changes) -> str:
    try:
        made: Any = target.api.create_commit(
            target.repo,
            upload.operations(changes),
            repo_type=target.repo_type,
            commit_message=changes.title,
            revision=target.revision,
            parent_commit=changes.remote.head,
        )
    except ValueError as error:
        # The client raises ValueError for metadata that the Hub does not accept. HTTP 400 is a ValueError, too.
        if isinstance(error, HfHubHTTPError):
            raise
        raise HubError(f"{target.url} does not accept the card: {' '.join(str(error).split())}") from error
    return str(made.oid)
