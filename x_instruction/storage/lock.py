"""One process at a time works in a run's folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from x_instruction.errors import ShardError


@contextlib.contextmanager
def run_lock(root: Path) -> Iterator[None]:
    """Hold the folder; the lock goes with the process, however it ends.

    Raises:
        ShardError: another one holds it, or it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ShardError(f"cannot write into {root}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ShardError(f"another run is at work in {root}: wait for it, or choose another --out") from None
        yield
    finally:
        os.close(lock)
