"""A LoRA adapter as vLLM takes it: its rank, what it changes, and whether it was made for the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from vllm.lora.request import LoRARequest

from x_instruction.config.model import Model
from x_instruction.engines.models import locate
from x_instruction.errors import EngineError

# The ranks that vLLM makes room for.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on this machine.

    Args:
        request: as vLLM takes it.
        rank: to make room for.
        modules: last parts of the names of what it changes. Where vLLM is told, it leaves the rest alone; else it wraps
            the head, too, and then fails to read likelihoods of a prompt. Empty where it has to wrap everything.
        name, revision: for records and cards.
    """

    request: LoRARequest
    rank: int
    modules: list[str]
    name: str
    revision: str


def find(settings: Model, base: Path) -> Adapter | None:
    """The adapter that a model's settings name, if they do.

    Args:
        base: folder of the model without it.

    Raises:
        EngineError: the adapter cannot be read, or was made for another model.
    """
    if not settings.adapter:
        return None
    files = locate(settings.adapter)
    try:
        config = json.loads((files.folder / "adapter_config.json").read_text("utf-8"))
        largest = max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"adapter {settings.adapter!r} has no readable adapter_config.json: {error}") from error
    rank = next((rank for rank in _RANKS if rank >= largest), None)
    if rank is None:
        raise EngineError(f"adapter {settings.adapter!r} has rank {largest}, vLLM takes {_RANKS[-1]} at most")
    shapes = _shapes(files.folder)
    _check(settings, shapes, _shapes(base), str(config.get("base_model_name_or_path")))
    changed = {name.partition(".lora_")[0] for name in shapes}
    heads = any(name.endswith("lm_head") or ".experts." in name for name in changed)
    modules = [] if heads else sorted({name.rpartition(".")[2] for name in changed})
    return Adapter(LoRARequest(files.name, 1, str(files.folder.resolve())), rank, modules, files.name, files.revision)


def _check(
    settings: Model, adapter: dict[str, tuple[int, ...]], base: dict[str, tuple[int, ...]], made_for: str
) -> None:
    """vLLM copies what fits of a matrix that is too small, without a word: compare the shapes first."""
    for name, shape in adapter.items():
        module, _, kind = name.removeprefix(_PREFIX).partition(".lora_")
        wanted = base.get(f"{module}.weight")
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
            raise EngineError(f"cannot read {path.name} of {folder.name}: {error}") from error
    return found
