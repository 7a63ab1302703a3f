"""Digests of large local files, known by path, size and time of change, so that an unchanged file is read once.

The identity of a file is its content: one that is touched or moved is read again, and has the same digest.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Smaller files are read faster than looked up.
LEAST = 1 << 23
# Seconds for which a file must be unchanged. Two changes at once may leave the same time.
_SETTLED = 2.0


def cache_folder() -> Path:
    """The folder for what can be made again: ``$X_INSTRUCTION_CACHE``, else ``~/.cache/x_instruction``."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("X_INSTRUCTION_CACHE") or Path(base) / "x_instruction").expanduser()


def known_digest(path: Path, read: Callable[[], str]) -> str:
    """The digest of a file, which is read only if it has changed since it was read last.

    Args:
        path: the file.
        read: reads it.

    Raises:
        OSError: the file does not exist.
    """
    status = path.stat()
    if status.st_size < LEAST:
        return read()
    identity = (str(path.absolute()), status.st_size, status.st_mtime_ns)
    found = None
    # The table may be that of another version, or locked or read-only. The file is read then.
    with contextlib.suppress(sqlite3.Error), _table() as table:
        found = table.execute("SELECT digest FROM digests WHERE (path, size, changed) = (?, ?, ?)", identity).fetchone()
    if found is not None:
        return str(found[0])
    digest = read()
    if time.time() - status.st_mtime > _SETTLED:
        with contextlib.suppress(sqlite3.Error), _table() as table:
            table.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", (*identity, digest))
    return digest


def forget_digests() -> None:
    """Read every file again when its digest is asked for."""
    with _table() as table:
        table.execute("DELETE FROM digests")


@contextlib.contextmanager
def _table() -> Iterator[sqlite3.Connection]:
    """The known digests. Where they cannot be kept, such as in a home folder that is read-only, none are known."""
    file = cache_folder() / "digests.sqlite"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file)
        connection.execute("CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, size, changed, digest)")
    except (sqlite3.Error, OSError):
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE digests (path TEXT PRIMARY KEY, size, changed, digest)")
    with contextlib.closing(connection), connection:
        yield connection
