"""GPUs that have too little memory."""

from __future__ import annotations

import gc
import sys

# What CUDA and its libraries say, in errors that have no class of their own.
_SAYS = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "HIP out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is that a GPU has no memory left. Torch is not loaded for it.

    A model that cannot be loaded for lack of memory is another error, since smaller batches do not help.
    """
    if type(error).__name__ == "OutOfMemoryError" and type(error).__module__.startswith("torch"):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAYS)


def release() -> None:
    """Give back the memory that torch keeps for tensors that are gone."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
