"""Load a model into vLLM and unload it: environment variables, supported versions, engine arguments."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from x_instruction.config.model import Model
from x_instruction.errors import EngineError, MissingExtra

# vLLM changes its Python interface between minor versions. The code was written for these; the first was also run.
KNOWN = ("0.32", "0.33")
_GIB = 1 << 30

logger = logging.getLogger(__name__)


def _prepare() -> None:
    """Set the environment variables that vLLM reads on import."""
    # Telemetry is always off.
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _GIB
    defaults = {
        # Run the scheduler in this process: batches then depend on the requests alone and not on the timing between
        # processes, and requests need not be serialised.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        # On a CPU vLLM would reserve nearly all memory, and pin threads to cores that other workers use too.
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, min(4, memory // 8))),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # vLLM logs during its import, before it applies VLLM_LOGGING_LEVEL.
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

# Exceptions that vLLM and its libraries raise for a model that they cannot run.
CANNOT = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, AssertionError, SafetensorError)


def check_version(version: str = vllm.__version__) -> None:
    """Log a warning if the version is not supported."""
    if ".".join(version.split(".")[:2]) not in KNOWN:
        logger.warning("vLLM %s is untested: the supported versions are %s", version, " and ".join(KNOWN))


def load(settings: Model, folder: Path, adapter: Adapter | None) -> Any:
    """Load an ``LLM`` and run one request, so that a model that cannot run fails here.

    Raises:
        EngineError: the model or its adapter cannot be run; the message says why.
    """
    vllm_settings = settings.vllm
    device = current_platform.device_type
    if settings.device not in ("auto", device):
        raise EngineError(
            f"device is {settings.device!r}, but this build of vLLM runs on {device!r}: install the build for that "
            "device, or set device = 'auto'; CUDA_VISIBLE_DEVICES selects the GPU"
        )
    options: dict[str, Any] = {
        "model": str(folder),
        # On a CPU without bfloat16 matrix instructions, bfloat16 was measured 85 to 110 times slower than float32.
        "dtype": "float32" if settings.dtype == "auto" and device == "cpu" else settings.dtype,
        "seed": 0,
        "tensor_parallel_size": vllm_settings.tensor_parallel,
        "gpu_memory_utilization": vllm_settings.memory,
        "quantization": vllm_settings.quantization,
        "enforce_eager": vllm_settings.eager,
        "enable_prefix_caching": True,
        # Requests set every sampling parameter: a model's own defaults would override the recipe.
        "generation_config": "vllm",
        "use_tqdm_on_load": False,
    }
    if device == "cpu":
        torch.set_num_threads(settings.threads)
        # On a CPU, chunked prefill of a request with a seed crashes vLLM 0.32 and 0.33 ("CPU Generator does not use
        # offset").
        options["enable_chunked_prefill"] = False
    options |= {name: value for name in ("max_model_len", "max_num_seqs") if (value := getattr(vllm_settings, name))}
    if adapter:
        options |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": adapter.rank}
        options |= {"lora_target_modules": adapter.modules} if adapter.modules else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            llm = vllm.LLM(**options)
            params = vllm.SamplingParams(temperature=0.0, max_tokens=1, detokenize=False)
            llm.generate({"prompt_token_ids": [0]}, params, use_tqdm=False, lora_request=adapter and adapter.request)
    except CANNOT as error:
        raise EngineError(f"vLLM cannot run {settings.name!r}{_with(settings)}: {reason(error)}") from error
    return llm


def unload(llm: Any) -> None:
    """Release the memory of a model, so that another one fits into this process."""
    llm.llm_engine.engine_core.shutdown()
    del llm
    gc.collect()
    cleanup_dist_env_and_memory()


def reason(error: BaseException) -> str:
    """The first line of an error message; pydantic's validation errors hold it in a list."""
    listed = getattr(error, "errors", None)
    text = listed()[0]["msg"] if callable(listed) else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0].removeprefix("Value error, ")


def _with(settings: Model) -> str:
    return f" with adapter {settings.adapter!r}" if settings.adapter else ""
