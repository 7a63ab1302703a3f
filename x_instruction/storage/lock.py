"""Locks of run folders: one process works in a folder, or several that each make a part of the shards.

A lock is a file that one process creates, in a folder that several machines may share or in an object store. It names
its holder, which renews it as long as it lives. The lock of a killed run is taken over: at once on its own machine,
where its process is known to have ended, and elsewhere once it was not renewed for ``STALE`` seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from x_instruction.errors import ShardError
from x_instruction.processes import ProcessId, this_process
from x_instruction.storage.atomic import open_plain

# Seconds between two renewals, and without any until a lock is taken over. Network file systems show a change of
# another machine up to a minute late.
BEAT = 15.0
STALE = 120.0


class LockFiles(Protocol):
    """Where locks are: the folder of a run, or its prefix in an object store."""

    def create(self, name: str, content: bytes) -> bool:
        """Create a file, unless it exists. Returns whether this call created it; of several at once, one does."""

    def read(self, name: str) -> tuple[bytes, float] | None:
        """The content of a file, and the seconds since it was created or renewed; None if there is no such file."""

    def names(self) -> list[str]:
        """The names of all files that begin with ``.lock``."""

    def renew(self, name: str, content: bytes) -> None:
        """Set the seconds of a file to 0. The content is the one that it has."""

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""


class FolderLocks:
    """Locks in a folder, which several machines may share.

    Args:
        root: the folder; it is created with the first lock.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, name: str, content: bytes) -> bool:
        """Create a file, unless it exists."""
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(self.root / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
        except OSError:
            # The disk is full. An empty lock would be that of an unknown process, until it is too old.
            self.remove(name)
            raise
        return True

    def read(self, name: str) -> tuple[bytes, float] | None:
        """The content of a file, and the seconds since it was renewed."""
        try:
            with open_plain(self.root / name) as stream:
                return stream.read(), self._now() - os.fstat(stream.fileno()).st_mtime
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """The names of all lock files."""
        return sorted(path.name for path in self.root.glob(".lock*"))

    def renew(self, name: str, content: bytes) -> None:
        """Set the seconds of a file to 0."""
        os.utime(self.root / name)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        (self.root / name).unlink(missing_ok=True)

    def _now(self) -> float:
        """The time by the clock of the file system, which is another machine's in a shared folder."""
        with tempfile.TemporaryFile(dir=self.root) as probe:
            return os.fstat(probe.fileno()).st_mtime


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Args:
        process: its process.
        since: when it took the lock, as ISO 8601.
        token: by chance, so that two locks of one process differ.
    """

    process: ProcessId = field(default_factory=this_process)
    since: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def as_json(self) -> bytes:
        """The content of a lock file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Holder:
        """The holder in a lock file. A file that is not complete yet belongs to an unknown process."""
        try:
            table = json.loads(content)
            return cls(**{**table, "process": ProcessId(**table["process"])})
        except (ValueError, TypeError, KeyError):
            return cls(ProcessId("", "", 0), "", "")

    def __str__(self) -> str:
        return f"process {self.process.number} on {self.process.host or 'another machine'}"


class Busy(Exception):
    """Another process holds the lock.

    Args:
        holder: that process.
    """

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"locked by {holder}")
        self.holder = holder


class RunBusy(ShardError):
    """Another process holds the run folder, or the same part of it."""


@contextlib.contextmanager
def hold(files: LockFiles, name: str) -> Iterator[None]:
    """Hold a lock until the block ends, and renew it meanwhile.

    A process that was stopped for ``STALE`` seconds may lose it. Both processes then make the same bytes.

    Args:
        files: where the lock is.
        name: of its file.

    Raises:
        Busy: another process holds it.
        OSError: the file cannot be written or read, or is a symbolic link.
    """
    content = Holder().as_json()
    while not files.create(name, content):
        if holder := live_holder(files, name):
            raise Busy(holder)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(files, name, content, ended), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        if _is(files, name, content):
            files.remove(name)


def live_holder(files: LockFiles, name: str) -> Holder | None:
    """Who holds a lock; None if it is free. The lock of a process that has ended is removed.

    Args:
        files: where the lock is.
        name: of its file.
    """
    found = files.read(name)
    if found is None or not _has_ended(*found):
        return Holder.from_json(found[0]) if found else None
    claim, own = f"{name}.takeover", Holder().as_json()
    if not files.create(claim, own):
        # Another process is about to remove it, unless it ended on the way.
        other = files.read(claim)
        if other and _has_ended(*other):
            files.remove(claim)
        return Holder.from_json(found[0])
    try:
        # Another process may have removed it before this one, and hold the lock by now.
        if _is(files, name, found[0]):
            files.remove(name)
    finally:
        files.remove(claim)
    return None


@contextlib.contextmanager
def run_lock(root: Path | LockFiles, rank: int = 0, of: int = 1) -> Iterator[None]:
    """Hold a run folder.

    A whole run (``of`` is 1) excludes every other process. Ranks of the same ``of`` work side by side: each holds a
    lock of its own, and none while a whole run works.

    Args:
        root: the run folder, which is created, or where else its locks are.
        rank: which part of the shards this process makes, from 0.
        of: the number of parts.

    Raises:
        RunBusy: another process holds the folder or this rank.
        ShardError: ranks of another ``of`` are at work, or the folder cannot be written.
    """
    files: LockFiles = FolderLocks(root) if isinstance(root, Path) else root
    shown = root if isinstance(root, Path) else "the run"
    with contextlib.ExitStack() as stack:
        part = f" as rank {rank} of {of}" if of > 1 else ""
        try:
            stack.enter_context(hold(files, _name(rank, of)))
            # After its own lock: of two processes that start at the same time, at least one sees the other.
            part = ""
            for name in files.names():
                _check_other(files, name, of, str(shown))
        except Busy as error:
            raise RunBusy(
                f"another run is at work in {shown}{part} ({error.holder}): wait until it ends, or choose another "
                f"--out; if that machine was stopped, wait {STALE:.0f} seconds"
            ) from None
        except OSError as error:
            raise ShardError(f"cannot write into {shown}: {error.strerror or error}") from error
        yield


def _name(rank: int, of: int) -> str:
    return ".lock" if of == 1 else f".lock-{rank}-of-{of}"


def _check_other(files: LockFiles, name: str, of: int, shown: str) -> None:
    """Refuse to work beside the holder of a lock that excludes this process.

    Raises:
        Busy: a whole run works, or this is one and a rank works.
        ShardError: ranks that divide the shards in another way work: two processes would make the same shard.
    """
    found = re.fullmatch(r"\.lock(-\d+-of-(\d+))?", name)
    other = int(found[2] or 1) if found else of
    if other == of:
        return
    holder = live_holder(files, name)
    if holder and 1 in (other, of):
        raise Busy(holder)
    if holder:
        raise ShardError(
            f"ranks of {other} are at work in {shown}, and this one is of {of}: start all with the same --of"
        )


def _renew(files: LockFiles, name: str, content: bytes, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        # The server of a shared folder or a store may be away for a moment. The next beat tries again.
        with contextlib.suppress(OSError, ShardError):
            if not _is(files, name, content):
                return
            files.renew(name, content)


def _is(files: LockFiles, name: str, content: bytes) -> bool:
    found = files.read(name)
    return found is not None and found[0] == content


def _has_ended(content: bytes, seconds: float) -> bool:
    return Holder.from_json(content).process.has_ended() or seconds > STALE
