"""Trains the models of a run: what ``train generator``, ``train rater`` and ``train all`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import out_option, overwrite_option, read_recipe, recipe_options


def role_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument and the options of the three commands."""
    command = out_option("Folder of the run", "runs/NAME")(overwrite_option(recipe_options(command)))
    return click.argument("recipe")(command)


def train_roles(
    roles: tuple[str, ...],
    recipe: str,
    out: Path | None,
    overwrite: bool,
    languages: tuple[str, ...],
    limit: int | None,
    sets: tuple[str, ...],
) -> None:
    """Train what is missing of the models of a recipe's run, and print their folders."""
    from x_instruction.pipeline.execute import train_models

    settings = read_recipe(recipe, languages, limit, sets)
    root = out or Path("runs") / settings.name
    kept(f"checkpoints are kept in {root}; rerun the same command to continue from the last one")
    for folder in train_models(settings, root, roles, overwrite, lambda text: click.echo(text, err=True)):
        click.echo(str(folder))
