"""Loading a model into vLLM: the environment it wants, its versions, and giving its memory back."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from x_instruction.config.model import Model
from x_instruction.errors import EngineError, MissingExtra

# vLLM changes its Python interface between minor versions; these were read and, the first, run.
KNOWN = ("0.32", "0.33")
_GIB = 1 << 30

logger = logging.getLogger(__name__)


def _prepare() -> None:
    """Set what vLLM reads from the environment, before it is imported."""
    # No telemetry, whatever the environment says.
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _GIB
    defaults = {
        # The scheduler in this process: it then mixes requests by what it was given alone, not by when another process
        # happened to look, so equal runs batch alike; and no request crosses a process border.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        # On a CPU it would take nearly all memory, and pin threads to cores that other workers have, too.
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, min(4, memory // 8))),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # It says things while it is imported, before it has read how much to say.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())


_prepare()

try:
    import torch
    import vllm
    from safetensors import SafetensorError
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
    from vllm.platforms import current_platform

    from x_instruction.engines.local.vllm_adapter import Adapter
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "vllm", "vllm") from error

# What vLLM and the libraries under it raise for a model that they cannot run.
CANNOT = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, AssertionError, SafetensorError)


def check_version(version: str = vllm.__version__) -> None:
    """Warn once in a line where the version is none that is known."""
    if ".".join(version.split(".")[:2]) not in KNOWN:
        logger.warning("vLLM %s is not known to work here: known are %s", version, " and ".join(KNOWN))


def load(settings: Model, folder: Path, adapter: Adapter | None) -> Any:
    """An ``LLM`` that has answered once, so that what it cannot run is known now.

    Raises:
        EngineError: the model or its adapter cannot be run; the message says why.
    """
    chosen = settings.vllm
    device = current_platform.device_type
    if settings.device not in ("auto", device):
        raise EngineError(
            f"device {settings.device!r} was asked for, but this vLLM runs on {device!r}: install the one for that "
            "device, or leave device = 'auto'; which GPU it takes is set by CUDA_VISIBLE_DEVICES"
        )
    options: dict[str, Any] = {
        "model": str(folder),
        # bfloat16 without matrix instructions was measured 85 to 110 times slower than float32.
        "dtype": "float32" if settings.dtype == "auto" and device == "cpu" else settings.dtype,
        "seed": 0,
        "tensor_parallel_size": chosen.tensor_parallel,
        "gpu_memory_utilization": chosen.memory,
        "quantization": chosen.quantization,
        "enforce_eager": chosen.eager,
        "enable_prefix_caching": True,
        # Every parameter is the request's: a model's own defaults would change texts behind the recipe's back.
        "generation_config": "vllm",
        "use_tqdm_on_load": False,
    }
    if device == "cpu":
        torch.set_num_threads(settings.threads)
        # A prompt that is read in parts ends vLLM on a CPU, if its request has a seed ("CPU Generator does not use
        # offset"; 0.32 and 0.33): prompts are read whole.
        options["enable_chunked_prefill"] = False
    options |= {name: value for name in ("max_model_len", "max_num_seqs") if (value := getattr(chosen, name))}
    if adapter:
        options |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": adapter.rank}
        options |= {"lora_target_modules": adapter.modules} if adapter.modules else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            llm = vllm.LLM(**options)
            one = vllm.SamplingParams(temperature=0.0, max_tokens=1, detokenize=False)
            llm.generate({"prompt_token_ids": [0]}, one, use_tqdm=False, lora_request=adapter and adapter.request)
    except CANNOT as error:
        raise EngineError(f"vLLM cannot run {settings.name!r}{_with(settings)}: {reason(error)}") from error
    return llm


def unload(llm: Any) -> None:
    """Give back the memory of a model, so that another has room in this process."""
    llm.llm_engine.engine_core.shutdown()
    del llm
    gc.collect()
    cleanup_dist_env_and_memory()


def reason(error: BaseException) -> str:
    """The first line of what went wrong; validation errors hide it in a list."""
    listed = getattr(error, "errors", None)
    text = listed()[0]["msg"] if callable(listed) else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0].removeprefix("Value error, ")


def _with(settings: Model) -> str:
    return f" with adapter {settings.adapter!r}" if settings.adapter else ""
