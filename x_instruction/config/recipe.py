"""Recipes: what a run is, one TOML file into frozen, validated settings.

Every unknown of the paper is a key here. Models and corpora have no silent default; thresholds do. An unknown key is
an error that lists the known ones, because a typo that is ignored costs a GPU run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from x_instruction.config import section
from x_instruction.config.corpus import Corpus
from x_instruction.config.diversify import Diversify
from x_instruction.config.fields import Invalid, PlainName, Tags
from x_instruction.config.files import Recipes
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.publish import Publish
from x_instruction.config.refine import UNASKED, Refine
from x_instruction.config.section import Section
from x_instruction.config.seeds import Seeds
from x_instruction.errors import RecipeError
from x_instruction.hashing import sealed


class Recipe(Section):
    """A run: every setting of every stage."""

    name: PlainName
    """Short name. Also names the run's folder."""
    languages: Annotated[Tags, Field(min_length=1)]
    """Language tags or aliases, such as `["sw"]`. Stored as tags."""
    corpus: Corpus
    """Where passages come from."""
    generate: Generate
    """How instructions are written."""
    refine: Refine
    """How pairs are rated."""
    diversify: Diversify
    """How the final pairs are selected."""
    seeds: Seeds = Seeds()
    """Which pairs a generator or a rater is trained on."""
    publish: Publish = Publish()
    """What the data set looks like."""
    seed: int = 2405_19744
    """Random seed of the run. Every other seed derives from it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        trained = [name for name, part in (("generate", self.generate), ("refine", self.refine)) if part.train]
        rater = self.refine.model
        one_base = self.generate.train and rater is not None and self.generate.model.name == rater.name
        if self.refine.init_from == "generator" and self.refine.train and not one_base:
            raise Invalid(
                "refine.init_from", 'is "generator", expected a section [generate.train] and one model.name for both'
            )
        if trained and not self.seeds.paths:
            raise Invalid("seeds.paths", f"is empty and [{trained[0]}.train] is set, expected files of seeds")
        if self.refine.rounds and not trained:
            raise Invalid(
                "refine.rounds",
                f"is {self.refine.rounds}, expected a section [generate.train] or [refine.train]",
            )
        return self

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that the run asks, the generator's first. Some raters ask none."""
        rater = self.refine.model if self.refine.rater not in UNASKED else None
        return (self.generate.model,) if rater is None else (self.generate.model, rater)


_RECIPES = Recipes(Recipe, "recipe")
load, names, text_of = _RECIPES.load, _RECIPES.names, _RECIPES.text_of


def dumps(settings: Recipe) -> str:
    """A recipe as JSON with every default written out, and a checksum; ``loads`` reads it back."""
    return json.dumps(sealed(settings.model_dump()), indent=1, ensure_ascii=False)


def loads(text: str) -> Recipe:
    """A recipe from what ``dumps`` wrote, with or without its checksum.

    Raises:
        RecipeError: unknown key, wrong type or value out of range.
        ValueError: not JSON, or its checksum is that of other settings.
    """
    return section.loads(Recipe, text)


def of_run(location: str | Path, data: bytes | None) -> Recipe:
    """The recipe of a run.

    Args:
        location: of the run, for messages.
        data: its file ``recipe.json``, if it has one.

    Raises:
        RecipeError: it has none, or it is damaged.
    """
    if data is None:
        raise RecipeError(f"{location} is not a run: it has no recipe.json; name a folder that `run` made")
    try:
        return loads(data.decode("utf-8"))
    except (ValueError, RecipeError) as error:
        raise RecipeError(
            f"{location}/recipe.json is damaged ({error}): run the recipe again. If you edited it, remove its checksum"
        ) from None
