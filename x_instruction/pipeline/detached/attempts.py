"""How often each task was begun and not ended, on disk: a node that fails takes its counts with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from x_instruction.pipeline.detached.state import file
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ShardKey


def attempts(run: RunFolder, key: ShardKey) -> int:
    """How many workers began a task and died."""
    return int(run.read_file(_file(key)) or 0)


@contextlib.contextmanager
def attempt(run: RunFolder, key: ShardKey) -> Iterator[None]:
    """Count a task as begun until the block ends, also by an error: only a process that dies leaves the count."""
    before = attempts(run, key)
    run.write_file(_file(key), str(before + 1).encode())
    try:
        yield
    except BaseException:
        if before:
            run.write_file(_file(key), str(before).encode())
        else:
            forget(run, key)
        raise
    forget(run, key)


def forget(run: RunFolder, key: ShardKey) -> None:
    """Count the attempts at a task anew."""
    run.remove_file(_file(key))


def died_of(tries: int) -> str:
    """The reason why a task is set aside after so many attempts."""
    return f"{tries} workers died of it; the logs of the elements end where they did"


def _file(key: ShardKey) -> str:
    return file(f"attempts/{key}")
