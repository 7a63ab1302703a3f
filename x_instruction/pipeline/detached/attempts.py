"""How often each task was begun and not ended: a node that fails leaves nobody to count the deaths of its workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from x_instruction.pipeline.detached.state import file
from x_instruction.storage.atomic import atomic
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ShardKey


def attempts(run: RunFolder, key: ShardKey) -> int:
    """How many workers began a task and died."""
    try:
        return int(_file(run, key).read_text("utf-8"))
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def attempt(run: RunFolder, key: ShardKey) -> Iterator[None]:
    """Count a task as begun until the block ends, also by an error: only a process that dies leaves the count."""
    before = attempts(run, key)
    with atomic(_file(run, key)) as stream:
        stream.write(str(before + 1).encode())
    try:
        yield
    except BaseException:
        if before:
            with atomic(_file(run, key)) as stream:
                stream.write(str(before).encode())
        else:
            _file(run, key).unlink(missing_ok=True)
        raise
    _file(run, key).unlink(missing_ok=True)


def died_of(tries: int) -> str:
    """The reason why a task is set aside after so many attempts."""
    return f"{tries} workers died of it; the logs of the elements end where they did"


def _file(run: RunFolder, key: ShardKey) -> Path:
    return file(run, f"attempts/{key}")
