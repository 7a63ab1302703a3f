"""What elements leave for the coordinator and for ``x-instruction status``."""

from __future__ import annotations

import socket

from x_instruction.pipeline.detached.state import file
from x_instruction.storage.run_folder import RunFolder


def acknowledge(run: RunFolder, number: int) -> None:
    """Record that a node sees the run folder.

    Args:
        run: the run folder.
        number: of the file of tasks.
    """
    name = file(f"{number}.seen")
    if run.read_file(name) is None:
        run.write_file(name, socket.gethostname().encode())


def seen(run: RunFolder, number: int) -> bool:
    """Whether any element has read a file of tasks."""
    return run.read_file(file(f"{number}.seen")) is not None


def keep_error(run: RunFolder, number: int, error: str) -> None:
    """Keep the error of an element; the last one stays."""
    run.write_file(file(f"{number}.error"), error.encode())


def last_error(run: RunFolder, number: int) -> str:
    """The last error of an element; empty if none is kept."""
    return (run.read_file(file(f"{number}.error")) or b"").decode()


def forget(run: RunFolder, number: int) -> None:
    """Remove what elements left, for a new array of this number."""
    for name in ("seen", "error"):
        run.remove_file(file(f"{number}.{name}"))
