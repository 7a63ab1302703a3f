"""Locks of folders: one process works in a run folder, or several that each make a part of the shards."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from x_instruction.errors import ShardError


class Busy(Exception):
    """Another process holds the lock.

    Args:
        path: the lock file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is locked by another process")
        self.path = path


@contextlib.contextmanager
def hold(path: Path, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file until the block ends. The system releases it if the process is killed.

    Args:
        path: the lock file; it is created with its folder, and stays.
        shared: allow other holders that ask for a shared lock, too.

    Raises:
        Busy: another process holds it.
        OSError: the file cannot be opened, or is a symbolic link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(path) from None
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def run_lock(root: Path, rank: int = 0, of: int = 1) -> Iterator[None]:
    """Hold a run folder.

    A whole run (``of`` is 1) excludes every other process. Ranks of the same ``of`` work side by side: each holds a
    lock of its own, and shares the lock that excludes whole runs.

    Args:
        root: the run folder; it is created.
        rank: which part of the shards this process makes, from 0.
        of: the number of parts.

    Raises:
        ShardError: another process holds the folder or this rank, ranks of another ``of`` are at work, or the folder
            cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(root / ".lock", shared=of > 1))
            if of > 1:
                stack.enter_context(hold(root / f".lock-{rank}-of-{of}"))
                # After its own lock: of two processes that start at the same time, at least one sees the other.
                _check_no_other_split(root, of)
        except Busy as error:
            part = f" as rank {rank} of {of}" if error.path != root / ".lock" else ""
            raise ShardError(
                f"another run is at work in {root}{part}: wait until it ends, or choose another --out"
            ) from None
        except OSError as error:
            raise ShardError(f"cannot write into {root}: {error.strerror or error}") from error
        yield


def _check_no_other_split(root: Path, of: int) -> None:
    """Refuse to work beside ranks that divide the shards in another way: two processes would make the same shard."""
    for path in root.glob(".lock-*-of-*"):
        other = int(path.name.rpartition("-")[2])
        if other == of:
            continue
        try:
            with hold(path, shared=True):
                pass
        except Busy:
            raise ShardError(
                f"ranks of {other} are at work in {root}, and this one is of {of}: start all with the same --of"
            ) from None
