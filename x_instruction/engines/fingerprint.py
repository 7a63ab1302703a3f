"""What decides an output: the settings that affect it, and the content of the models that they name.

An output is made again when its fingerprint differs. Which settings affect it is declared on the fields
(``x_instruction.config.section``): nothing else in the package lists keys for this.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from x_instruction.config.fields import affects
from x_instruction.config.model import Model
from x_instruction.config.section import Section
from x_instruction.engines import engine_spec
from x_instruction.engines.models import ModelFiles, locate

# Raised when code makes another output of the same settings, so that old output is noticed: by stage, and by model.
VERSIONS = {"passage": 4, "candidate": 5, "rated": 4, "embedded": 1, "curated": 2, "generator": 3, "rater": 3}


def fingerprint(settings: Section, output: Literal["records", "model"] = "records") -> dict[str, Any]:
    """The settings that affect an output, as dotted keys to plain values.

    A model on this machine is known by its name and the content of its files, wherever they are; one on a server by
    what its server calls it.

    Args:
        settings: of a stage, a model or a training.
        output: ``records`` that are made with the settings, or the ``model`` that a stage trains.

    Raises:
        EngineError: a model does not exist.
    """
    values: dict[str, Any] = {}
    for key in type(settings).model_fields:
        if output not in affects(type(settings), key):
            continue
        value = getattr(settings, key)
        if isinstance(value, Section):
            # Within a section that affects the output, every key does that is not declared otherwise.
            values |= {f"{key}.{name}": inner for name, inner in fingerprint(value).items()}
        else:
            values[key] = list(value) if isinstance(value, tuple) else value
    if isinstance(settings, Model) and not engine_spec(settings).remote:
        base = located(settings.name, settings.revision)
        values |= {"name": base.name, "revision": base.revision}
        if settings.adapter:
            values["adapter"] = located(settings.adapter).revision
    return values


def located(name: str, revision: str = "main") -> ModelFiles:
    """As ``locate``, remembered until a file of a local folder changes."""
    folder = Path(name).expanduser()
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    return _located(name, revision, tuple((str(file), file.stat().st_mtime_ns) for file in files))


@cache
def _located(name: str, revision: str, files: tuple[tuple[str, int], ...]) -> ModelFiles:
    return locate(name, revision)
