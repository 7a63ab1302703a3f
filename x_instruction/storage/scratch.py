"""Request caches of runs that are not on a local disk: SQLite files on local scratch, with copies back.

SQLite's write-ahead log needs memory that all its processes share, which network file systems do not offer, and object
stores have no files to change. There a cache is fetched when its shard begins, used on a local disk, and copied back
while the shard is made and at its end. A killed worker loses what was answered since the last copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from x_instruction.errors import ShardError
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ShardKey

# Seconds between two copies.
INTERVAL = 30.0
# Nanoseconds after which another change has another time.
_SETTLED = 1_000_000_000
# A folder for request caches, and for copies of runs in a store, whatever the run folder is on.
VARIABLE = "X_INSTRUCTION_SCRATCH"


@contextlib.contextmanager
def local_cache(run: RunFolder, key: ShardKey, scratch: str = "") -> Iterator[Path]:
    """The request cache of a shard as a file on a local disk, which may not exist yet.

    Args:
        run: the run.
        key: the shard.
        scratch: folder on a local disk; if empty, that of the environment variable ``X_INSTRUCTION_SCRATCH``. If both
            are empty, the cache is used where it is, or in the system's temporary folder if it is not on a local disk.

    Raises:
        ShardError: the folder cannot be written, or the cache not be copied.
    """
    folder = scratch or os.environ.get(VARIABLE, "")
    if not folder and not run.needs_scratch:
        yield run.cache(key)
        return
    with contextlib.ExitStack() as stack:
        try:
            own = stack.enter_context(tempfile.TemporaryDirectory(prefix="x-instruction-", dir=folder or None))
            path = Path(own) / f"{key.index:05d}.sqlite"
            run.fetch_cache(key, path)
        except OSError as error:
            raise ShardError(
                f"cannot use {folder or tempfile.gettempdir()} for request caches: {error.strerror or error}; name a "
                f"folder on a local disk in {VARIABLE}, or as scratch in the --site file"
            ) from error
        stack.enter_context(_copied_back(run, key, path))
        yield path


@contextlib.contextmanager
def scratch_folder(run: RunFolder, name: str, scratch: str = "") -> Iterator[Path]:
    """An empty folder for temporary files of a stage, removed at the end.

    Args:
        run: the run.
        name: its name in the run folder, if it is there.
        scratch: as for ``local_cache``.
    """
    folder = scratch or os.environ.get(VARIABLE, "")
    if folder or run.needs_scratch:
        with tempfile.TemporaryDirectory(prefix="x-instruction-", dir=folder or None) as own:
            yield Path(own)
        return
    place = run.root / "scratch" / name
    # Left by a worker that was killed.
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _copied_back(run: RunFolder, key: ShardKey, path: Path) -> Iterator[None]:
    """Copy a cache back now and then, and at the end."""
    ended = threading.Event()
    copier = _Copier(run, key, path)
    thread = threading.Thread(target=copier.run, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        copier.copy()


class _Copier:
    """Copies a cache back where it has changed.

    Args:
        run: the run.
        key: the shard.
        path: the cache on the local disk.
    """

    def __init__(self, run: RunFolder, key: ShardKey, path: Path) -> None:
        self._run = run
        self._key = key
        self._path = path
        self._copied = _state(path)

    def run(self, ended: threading.Event) -> None:
        """Copy until the shard is made. A copy that fails is tried again, at the latest at the end."""
        while not ended.wait(INTERVAL):
            # The log of SQLite is removed when the cache is closed, which may be between two looks at it.
            with contextlib.suppress(OSError, ShardError):
                self.copy()

    def copy(self) -> None:
        """Copy the cache back, if it has changed.

        Raises:
            ShardError: it cannot be copied.
        """
        state = _state(self._path)
        if state == self._copied:
            return
        whole = self._path.with_suffix(".copy")
        try:
            with (
                contextlib.closing(sqlite3.connect(self._path)) as source,
                contextlib.closing(sqlite3.connect(whole)) as target,
            ):
                source.backup(target)
                # One file that no process has to share memory to read.
                target.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise ShardError(f"cannot copy the request cache {self._path}: {error}; free some space there") from error
        self._run.keep_cache(self._key, whole)
        # Two changes at once may leave the same time and size, so a state of this moment does not count.
        self._copied = state if all(time.time_ns() - changed > _SETTLED for changed, _ in state) else []


def _state(path: Path) -> list[tuple[int, int]]:
    """What changes with the content of an SQLite file: time and size of it and of its log."""
    files = [file for file in (path, Path(f"{path}-wal")) if file.exists()]
    return [(file.stat().st_mtime_ns, file.stat().st_size) for file in files]
