"""Cross-lingual instruction data: English instructions for natural text of any language (arXiv 2405.19744).

Everything that scripts and notebooks need is here::

    import x_instruction

    run = x_instruction.run("demo", languages=["sw"], limit=10)
    run.rows("sw")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from x_instruction.errors import (
    BudgetReached,
    CorpusError,
    EngineError,
    HubError,
    MissingExtra,
    NotCapable,
    RecipeError,
    RunChanged,
    ShardError,
    TrainingError,
    UnknownLanguage,
    XInstructionError,
)

if TYPE_CHECKING:
    from x_instruction.api import Run, build, evaluate, preview, publish, run, train
    from x_instruction.builders.reading import load
    from x_instruction.builders.views import view
    from x_instruction.config.recipe import Recipe

__version__ = "0.1.0"

__all__ = [
    "BudgetReached",
    "CorpusError",
    "EngineError",
    "HubError",
    "MissingExtra",
    "NotCapable",
    "Recipe",
    "RecipeError",
    "Run",
    "RunChanged",
    "ShardError",
    "TrainingError",
    "UnknownLanguage",
    "XInstructionError",
    "__version__",
    "build",
    "evaluate",
    "load",
    "preview",
    "publish",
    "run",
    "train",
    "view",
]

# Imported when first used: datasets and pydantic take seconds, and ``import x_instruction`` must be quick.
_MODULES = {
    **dict.fromkeys(["Run", "build", "evaluate", "preview", "publish", "run", "train"], "api"),
    "Recipe": "config.recipe",
    "load": "builders.reading",
    "view": "builders.views",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
