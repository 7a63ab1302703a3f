"""JSON Schemas of recipes, with which an editor completes and checks a TOML file."""

from __future__ import annotations

from typing import Any

from x_instruction.config.recipe import Recipe
from x_instruction.config.section import Section


def recipe_schema(kind: type[Section] = Recipe) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe, or of a recipe of another kind."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.model_json_schema()}
