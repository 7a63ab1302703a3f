"""Processes of this machine: whether one is running, and how one ends together with its parent."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import socket
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process of some machine.

    Args:
        host: the name of the machine.
        place: where its number counts: the machine since it started, or a container of it.
        number: its PID.
        started: when it started, in the system's own unit, since numbers are used again; empty if it is not known.
    """

    host: str
    place: str
    number: int
    started: str = ""

    def has_ended(self) -> bool:
        """Whether it is known to have ended. The processes of other machines never are."""
        if self.place != _place():
            return False
        return not alive(self.number) or (bool(self.started) and _started(self.number) != self.started)


def this_process() -> ProcessId:
    """The process that calls this."""
    return ProcessId(socket.gethostname(), _place(), os.getpid(), _started(os.getpid()))


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


@cache
def _place() -> str:
    names = [socket.gethostname()]
    with contextlib.suppress(OSError):
        names.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
        names.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:8]


def _started(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    return ""


def _watch(parent: int, others: tuple[int, ...]) -> None:
    # The parent of an orphan is another process, so its PID changes.
    while os.getppid() == parent and all(map(alive, others)):
        time.sleep(0.5)
    end_process(1)
