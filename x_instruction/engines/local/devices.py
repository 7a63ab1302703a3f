"""The devices of this machine."""

from __future__ import annotations

import os
from pathlib import Path

# GPUs of AMD, and of Windows in its subsystem for Linux, are named cuda too, and not listed.
_OTHER_GPUS = ("/dev/kfd", "/dev/dxg")


def gpus() -> list[str]:
    """Names of the visible GPUs in the form of CUDA_VISIBLE_DEVICES, without loading CUDA."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name.strip() not in ("", "-1")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def has_gpu() -> bool:
    """Whether there is a GPU that torch may name cuda, without loading CUDA."""
    return bool(gpus()) or any(Path(other).exists() for other in _OTHER_GPUS)
