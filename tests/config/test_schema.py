"""The JSON Schema of recipes, and that every key has a description of its own."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from x_instruction.config import recipe
from x_instruction.config.explain import section_of
from x_instruction.config.mixing import MixRecipe
from x_instruction.config.recipe import Recipe
from x_instruction.config.rewrite import Rewriting
from x_instruction.config.schema import recipe_schema
from x_instruction.config.section import Section
from x_instruction.config.seeds import Translation
from x_instruction.config.training import TrainingRecipe

KINDS = [Recipe, MixRecipe, TrainingRecipe, Translation, Rewriting]
# Defined once, and used by every section that reads rows.
SHARED = {"max_row_bytes"}


def below(kind: type[Section]) -> Iterator[type[Section]]:
    """A section and all sections in it."""
    yield kind
    for key in kind.model_fields:
        if inner := section_of(kind, key):
            yield from below(inner)


SECTIONS = sorted({section for kind in KINDS for section in below(kind)}, key=lambda section: section.__name__)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_description(section: type[Section]) -> None:
    for key, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{key} has no docstring"
        assert field.description.rstrip().endswith(".")


def test_no_two_keys_share_a_description() -> None:
    keys = defaultdict(set)
    for section in SECTIONS:
        for key, field in section.model_fields.items():
            owner = next(kind for kind in reversed(section.__mro__) if key in getattr(kind, "model_fields", {}))
            if key not in SHARED:
                keys[field.description].add(f"{owner.__name__}.{key}")
    assert [shared for shared in keys.values() if len(shared) > 1] == []


def schema() -> Draft202012Validator:
    Draft202012Validator.check_schema(recipe_schema())
    return Draft202012Validator(recipe_schema())


@pytest.mark.parametrize("name", recipe.names())
def test_included_recipes_are_valid(name: str) -> None:
    schema().validate(tomllib.loads(recipe.text_of(name)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("candidate", 3, "'candidate' was unexpected"),
        ("candidates", "three", "'three' is not of type 'integer'"),
        ("candidates", 0, "0 is less than or equal to the minimum of 0"),
    ],
)
def test_the_schema_rejects_mistakes(key: str, value: Any, message: str) -> None:
    table = tomllib.loads(recipe.text_of("demo"))
    table["generate"][key] = value
    with pytest.raises(ValidationError, match=message):
        schema().validate(table)


def test_every_kind_of_recipe_has_a_schema() -> None:
    assert "afp" in recipe_schema(MixRecipe)["properties"]
    assert recipe_schema(TrainingRecipe)["properties"]["lr_search_rates"]["description"]
