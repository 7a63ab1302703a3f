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
    from x_instruction.errors import RecipeError
    from x_instruction.pipeline import rounds
    from x_instruction.pipeline.models import Models
    from x_instruction.storage.lock import run_lock
    from x_instruction.storage.run_folder import RunFolder

    settings = read_recipe(recipe, languages, limit, sets)
    rounds.check(settings)
    sections = {"generator": settings.generate.train, "rater": settings.refine.train}
    chosen = [role for role in roles if sections[role]]
    if not chosen:
        tables = {"generator": "[generate.train]", "rater": "[refine.train]"}
        raise RecipeError(
            f"{recipe} trains no {' and no '.join(roles)}: add {' or '.join(tables[role] for role in roles)}"
        )
    root = out or Path("runs") / settings.name
    kept(f"checkpoints are kept in {root}; rerun the same command to continue from the last one")
    models = Models(RunFolder(root), settings, overwrite, lambda text: click.echo(text, err=True))
    with run_lock(root):
        for role in chosen:
            for folder in models.ready(role, 0):
                click.echo(str(folder))
