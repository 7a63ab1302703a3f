"""How often each task was begun and not ended: a node that fails leaves nobody to count the deaths of its workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from x_instruction.pipeline.detached import FOLDER
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ShardKey

_FOLDER = f"{FOLDER}/attempts"


def attempts(run: RunFolder, key: ShardKey) -> int:
    """How many workers began a task and died."""
    return int(run.read_file(_name(key)) or 0)


@contextlib.contextmanager
def attempt(run: RunFolder, key: ShardKey) -> Iterator[None]:
    """Count a task as begun until the block ends, also by an error: only a process that dies leaves the count."""
    before = attempts(run, key)
    run.write_file(_name(key), str(before + 1).encode())
    try:
        yield
    except BaseException:
        if before:
            run.write_file(_name(key), str(before).encode())
        else:
            run.remove_file(_name(key))
        raise
    run.remove_file(_name(key))


def forget(run: RunFolder) -> None:
    """Begin to count anew."""
    for name in run.names(_FOLDER):
        run.remove_file(name)


def died_of(tries: int) -> str:
    """The reason why a task is set aside after so many attempts."""
    return f"{tries} workers died of it; the logs of the elements end where they did"


def _name(key: ShardKey) -> str:
    return f"{_FOLDER}/{key}"
