"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from x_instruction.config.recipe import Recipe, load, loads
from x_instruction.errors import RecipeError


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A recipe and what may be changed in it from the command line."""
    for option in (
        click.option(
            "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a recipe key, as generate.candidates=8."
        ),
        click.option("--limit", type=click.IntRange(1), help="Keep at most this many passages per language."),
        click.option("--languages", metavar="TAGS", help="Languages instead of the recipe's, as sw,th."),
    ):
        command = option(command)
    return command


def read_recipe(name: str, languages: str | None, limit: int | None, sets: tuple[str, ...]) -> Recipe:
    """The recipe with the command line's changes.

    Raises:
        RecipeError: unreadable, unknown key, bad value.
    """
    overrides = read_sets(sets)
    if limit is not None:
        overrides["corpus.passages"] = str(limit)
    if languages is not None:
        tags = [tag.strip() for tag in languages.split(",") if tag.strip()]
        overrides["languages"] = "[" + ", ".join(f"'{tag}'" for tag in tags) + "]"
    return load(name, overrides)


def read_sets(sets: tuple[str, ...]) -> dict[str, str]:
    """Dotted key to TOML value text of every ``--set``.

    Raises:
        RecipeError: one is not KEY=VALUE.
    """
    overrides: dict[str, str] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {text!r} is not KEY=VALUE, as generate.candidates=8")
        overrides[key.strip()] = value.strip()
    return overrides


def read_run(folder: Path) -> Recipe:
    """The recipe that a run's folder was made with.

    Raises:
        RecipeError: the folder is no run.
    """
    try:
        return loads((folder / "recipe.json").read_text("utf-8"))
    except OSError:
        raise RecipeError(f"{folder} is not a run's folder (it has no recipe.json): name one that `run` made") from None
    except ValueError as error:
        raise RecipeError(f"{folder / 'recipe.json'} is damaged ({error}): run the recipe again") from None
