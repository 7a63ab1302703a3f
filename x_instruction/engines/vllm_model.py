"""Loading a model into vLLM: the environment it wants, its versions, its adapter, and giving its memory back."""

from __future__ import annotations

import gc
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from x_instruction.engines.models import locate
from x_instruction.errors import EngineError, MissingExtra
from x_instruction.recipe import Model

# vLLM changes its Python interface between minor versions; these were read and, the first, run.
KNOWN = ("0.32", "0.33")
# The ranks that vLLM has kernels for.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
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


_prepare()

try:
    import torch
    import vllm
    from safetensors import SafetensorError, safe_open
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
    from vllm.lora.request import LoRARequest
    from vllm.platforms import current_platform
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "vllm", "vllm") from error

# What vLLM and the libraries under it raise for a model that they cannot run.
CANNOT = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, AssertionError, SafetensorError)


def check_version(version: str = vllm.__version__) -> None:
    """Warn once in a line where the version is none that is known."""
    if ".".join(version.split(".")[:2]) not in KNOWN:
        logger.warning("vLLM %s is not known to work here: known are %s", version, " and ".join(KNOWN))


def load(settings: Model, folder: Path, adapter: LoRARequest | None, rank: int) -> Any:
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
    if device == "cpu":
        torch.set_num_threads(settings.threads)
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
    options |= {name: value for name in ("max_model_len", "max_num_seqs") if (value := getattr(chosen, name))}
    if adapter:
        options |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            llm = vllm.LLM(**options)
            one = vllm.SamplingParams(temperature=0.0, max_tokens=1, detokenize=False)
            llm.generate({"prompt_token_ids": [0]}, one, use_tqdm=False, lora_request=adapter)
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


def lora(settings: Model, base: Path) -> tuple[LoRARequest | None, int, str, str]:
    """The adapter as vLLM takes it, the rank to make room for, its name and its revision.

    Raises:
        EngineError: the adapter cannot be read, or was made for another model.
    """
    if not settings.adapter:
        return None, 0, "", ""
    files = locate(settings.adapter)
    try:
        config = json.loads((files.folder / "adapter_config.json").read_text("utf-8"))
        largest = max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"adapter {settings.adapter!r} has no readable adapter_config.json: {error}") from error
    rank = next((rank for rank in _RANKS if rank >= largest), None)
    if rank is None:
        raise EngineError(f"adapter {settings.adapter!r} has rank {largest}, vLLM takes {_RANKS[-1]} at most")
    _check_shapes(settings, files.folder, base, str(config.get("base_model_name_or_path")))
    return LoRARequest(files.name, 1, str(files.folder.resolve())), rank, files.name, files.revision


def _check_shapes(settings: Model, adapter: Path, base: Path, made_for: str) -> None:
    """vLLM copies what fits of a matrix that is too small, without a word: compare the shapes first."""
    weights = _shapes(base)
    for name, shape in _shapes(adapter).items():
        module, _, kind = name.removeprefix("base_model.model.").partition(".lora_")
        wanted = weights.get(f"{module}.weight")
        side = {"A.weight": 1, "B.weight": 0}.get(kind)
        if wanted is None or side is None or len(wanted) != 2 or shape[side] == wanted[side]:
            continue
        raise EngineError(
            f"adapter {settings.adapter!r} does not fit on {settings.name!r}: {module} is {wanted[0]} by {wanted[1]} "
            f"there, and the adapter, made for {made_for!r}, has {shape[side]} where {wanted[side]} is wanted"
        )


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight in the folder's safetensors files; only their headers are read."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as weights:
                found |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise EngineError(f"cannot read {path.name} of {folder.name}: {reason(error)}") from error
    return found


def _with(settings: Model) -> str:
    return f" with adapter {settings.adapter!r}" if settings.adapter else ""
