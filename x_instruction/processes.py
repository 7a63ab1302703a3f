"""Processes of this machine: whether one is running, and how one ends together with its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import NoReturn


def alive(process: int) -> bool:
    """True if the process is running. Zombies keep their PID and count as dead."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in "ZX"
    return True


def end_with_parent(*others: int) -> None:
    """Start a thread that ends this process soon after its parent ends: the child of a killed run must not go on.

    Args:
        others: PIDs of further processes. When one of them ends, this process ends, too.
    """
    threading.Thread(target=_watch, args=(os.getppid(), others), daemon=True).start()


def end_process(code: int) -> NoReturn:
    """End this process at once, and the processes that it started, which would keep their GPUs.

    Nothing is flushed and no exit handler runs: after models have been loaded, the regular exit of the interpreter
    sometimes hangs in native libraries.
    """
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(code)


def _watch(parent: int, others: tuple[int, ...]) -> None:
    # The parent of an orphan is another process, so its PID changes.
    while os.getppid() == parent and all(map(alive, others)):
        time.sleep(0.5)
    end_process(1)
