"""Processes of this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def alive(process: int) -> bool:
    """Whether a process works on; one that was killed and that nobody has taken note of has its number still."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in "ZX"
    return True
