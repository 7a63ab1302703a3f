"""The devices of this machine."""

from __future__ import annotations

import os
from pathlib import Path


def gpus() -> list[str]:
    """Names of the visible GPUs in the form of CUDA_VISIBLE_DEVICES, without loading CUDA."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name.strip() not in ("", "-1")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number in range(len(list(folder.iterdir())))] if folder.is_dir() else []
