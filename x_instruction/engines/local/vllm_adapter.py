"""A LoRA adapter for vLLM: its rank, the modules it changes, and a check that it was made for the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from vllm.lora.request import LoRARequest

from x_instruction.config.model import Model
from x_instruction.engines.models import locate
from x_instruction.errors import EngineError

# The values that vLLM accepts for max_lora_rank.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on this machine.

    Args:
        request: the adapter as an argument of vLLM's requests.
        rank: value of vLLM's ``max_lora_rank``.
        modules: last parts of the names of the modules that it changes, for ``lora_target_modules``. Without this list
            vLLM also wraps the head and then fails to return log-probabilities of a prompt. Empty if the adapter
            changes the head or experts, so that vLLM has to wrap everything.
        name, revision: for records and cards.
    """

    request: LoRARequest
    rank: int
    modules: list[str]
    name: str
    revision: str


def find(settings: Model, base: Path) -> Adapter | None:
    """The adapter that a model's settings name; None if they name none.

    Args:
        settings: the model's settings.
        base: folder of the base model.

    Raises:
        EngineError: the adapter cannot be read, or was made for another model.
    """
    if not settings.adapter:
        return None
    files = locate(settings.adapter)
    try:
        config = json.loads((files.folder / "adapter_config.json").read_text("utf-8"))
        largest = max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EngineError(f"adapter {settings.adapter!r} has no readable adapter_config.json: {error}") from error
    rank = next((rank for rank in _RANKS if rank >= largest), None)
    if rank is None:
        raise EngineError(
            f"adapter {settings.adapter!r} has rank {largest}, vLLM supports up to {_RANKS[-1]}: merge the adapter "
            "into the model"
        )
    shapes = _shapes(files.folder)
    _check(settings, shapes, _shapes(base), str(config.get("base_model_name_or_path")))
    changed = {name.partition(".lora_")[0] for name in shapes}
    heads = any(name.endswith("lm_head") or ".experts." in name for name in changed)
    modules = [] if heads else sorted({name.rpartition(".")[2] for name in changed})
    return Adapter(LoRARequest(files.name, 1, str(files.folder.resolve())), rank, modules, files.name, files.revision)


def _check(
    settings: Model, adapter: dict[str, tuple[int, ...]], base: dict[str, tuple[int, ...]], made_for: str
) -> None:
    """Compare the shapes of adapter and base: vLLM silently copies a matrix that is too small."""
    for name, shape in adapter.items():
        module, _, matrix = name.removeprefix(_PREFIX).partition(".lora_")
        weight = base.get(f"{module}.weight")
        side = {"A.weight": 1, "B.weight": 0}.get(matrix)
        if weight is None or side is None or len(weight) != 2 or shape[side] == weight[side]:
            continue
        raise EngineError(
            f"adapter {settings.adapter!r} does not fit on {settings.name!r}: {module} is {weight[0]} by {weight[1]} "
            f"there, and the adapter, made for {made_for!r}, has {shape[side]}, expected {weight[side]}"
        )


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight in the folder's safetensors files. Only the headers are read."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as weights:
                shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise EngineError(f"cannot read {path.name} of {folder.name}: {error}") from error
    return shapes
