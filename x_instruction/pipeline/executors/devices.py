"""Which GPUs each worker of this machine takes: one, or the group over which vLLM splits a model."""

from __future__ import annotations

import os

from x_instruction.config.recipe import Recipe
from x_instruction.engines import engine_spec
from x_instruction.engines.local.devices import gpus, has_gpu
from x_instruction.errors import EngineError


def span(settings: Recipe) -> int:
    """The number of GPUs that one worker needs: more than one where vLLM splits a model."""
    return max([1, *(model.vllm.tensor_parallel for model in settings.models if model.engine == "vllm")])


def groups(settings: Recipe, workers: int = 1) -> list[str]:
    """The GPUs of this machine, grouped by worker, each group as ``CUDA_VISIBLE_DEVICES`` names it.

    Raises:
        EngineError: there are too few GPUs for models that are split over several, or none for a model that asks for
            one.
    """
    size, visible = span(settings), gpus()
    if not has_gpu():
        for model in settings.models:
            if model.device.startswith("cuda") and not engine_spec(model).remote:
                raise EngineError(
                    f"device is {model.device!r} for {model.name}, and no GPU is visible: set device to 'auto' or "
                    "'cpu', or name a GPU in CUDA_VISIBLE_DEVICES"
                )
    if size > 1 and len(visible) < size * workers:
        raise EngineError(
            f"vllm.tensor_parallel = {size} with --workers {workers} needs {size * workers} GPUs, and {len(visible)} "
            "are visible: lower one of them, or name more GPUs in CUDA_VISIBLE_DEVICES"
        )
    return [",".join(visible[first : first + size]) for first in range(0, len(visible) - size + 1, size)]


def default_workers(settings: Recipe) -> int:
    """One worker per GPU, or group of GPUs that a model is split over; on a CPU one per core or language."""
    return len(groups(settings)) or max(1, min(os.cpu_count() or 1, len(settings.languages)))
