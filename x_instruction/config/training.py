"""Tuning recipes: what a model is tuned from and how, one TOML file into frozen, validated settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal

from x_instruction.config.recipe import Model, TrainConfig, parse
from x_instruction.errors import RecipeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Align:
    """AFP's contrast between translations of one instruction, beside the loss on outputs (method.md 3.2, 4.7).

    Rows with ``sentence`` and ``parallel`` take part, as the mixer ``afp`` writes them.

    Args:
        temperature: of InfoNCE.
        layer: hidden state whose likeness is wanted; 0 is the embeddings, 1 what leaves the first layer.
        pooling: a sentence's state: of its ``last`` token, or the ``mean`` over its tokens.
        symmetric: contrast in both directions and take the mean; AFP has one.
        contrast_weight, output_weight: of the two losses (1 and 1.5 in AFP).
    """

    temperature: float = 0.05
    layer: int = 1
    pooling: Literal["last", "mean"] = "last"
    symmetric: bool = False
    contrast_weight: float = 1.0
    output_weight: float = 1.5

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise RecipeError(f"temperature is {self.temperature}, wanted a number above 0")
        if self.layer < 0:
            raise RecipeError(f"layer is {self.layer}, wanted 0 (embeddings) or more")
        if min(self.contrast_weight, self.output_weight) < 0 or self.contrast_weight + self.output_weight == 0:
            raise RecipeError("contrast_weight and output_weight are 0 or more, and one of them above")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """A model to tune on prompts and completions.

    Args:
        name: short name, also of the model's folder.
        model: the base.
        license, license_link: the base's, for the card; read from what is known of it when not set.
        prompt: what the model reads for a prompt: ``chat`` (its chat template), name or path of a text with
            ``{instruction}``, or ``auto``: the chat template where there is one, else ``answer``.
        tune: how.
        align: AFP's alignment; none without the section.
        learning_rates: tried one after the other, for ``trial`` steps each; the one whose model does best on the
            development rows (share of answers in the right language, times quality) tunes the model.
        trial: steps of each try.
        development: rows kept apart for that, spread over languages.
        answer_tokens: length of the answers by which languages are told.
        lid_model: path of a fastText model such as GlotLID, for languages that py3langid does not know.
    """

    name: str
    model: Model
    license: str = ""
    license_link: str = ""
    prompt: str = "auto"
    tune: TrainConfig = field(default_factory=TrainConfig)
    align: Align | None = None
    learning_rates: tuple[float, ...] = ()
    trial: int = 50
    development: int = 100
    answer_tokens: int = 48
    lid_model: str | None = None

    def __post_init__(self) -> None:
        for name in ("trial", "development", "answer_tokens"):
            if getattr(self, name) <= 0:
                raise RecipeError(f"{name} is {getattr(self, name)}, wanted a number above 0")
        if any(not rate > 0 for rate in self.learning_rates):
            raise RecipeError(f"learning_rates is {list(self.learning_rates)}, wanted numbers above 0")


def load(source: str | Path, overrides: Mapping[str, str] | None = None) -> TrainingRecipe:
    """A tuning recipe from a TOML file, or by the name of one that ships with the package.

    Raises:
        RecipeError: unreadable file, unknown key, wrong type or value out of range.
    """
    if isinstance(source, str) and source in names():
        text = resources.files("x_instruction.recipes.training").joinpath(f"{source}.toml").read_text("utf-8")
        return parse(TrainingRecipe, text, source, overrides)
    try:
        text = Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(names())
        raise RecipeError(f"cannot read tuning recipe {source}: {error}; name a file, or one of {known}") from None
    return parse(TrainingRecipe, text, source, overrides)


def names() -> list[str]:
    """Names of the tuning recipes that ship with the package."""
    folder = resources.files("x_instruction.recipes.training")
    return sorted(p.name[: -len(".toml")] for p in folder.iterdir() if p.name.endswith(".toml"))
