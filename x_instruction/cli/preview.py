"""``x-instruction preview``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import out_option, read_recipe, recipe_options, workers_option
from x_instruction.cli.tables import Format, emit, format_options


@click.command()
@click.argument("recipe")
@out_option("Folder or store (s3://...) of the run", "runs/NAME", is_run=True)
@workers_option
@recipe_options
@format_options
def command(
    recipe: str,
    out: str | Path | None,
    workers: int,
    languages: tuple[str, ...],
    limit: int | None,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Show what RECIPE makes of a few passages, and estimate the run.

    RECIPE is a file, or the name of a recipe that ships: see `x-instruction recipe list`.

    Three passages of each of up to three languages go through all stages. Prints every candidate with its rank, its
    score and the reason why it was dropped, then passages, requests, tokens, time, cost and memory of the whole run.
    JSON and CSV hold the estimate by language. A run in the same folder uses the answers, and does not ask again.
    """
    from x_instruction import api

    settings = read_recipe(recipe, languages, limit, sets)
    root = out or Path("runs") / settings.name
    kept(f"answers are kept in {root}; rerun the same command to continue")
    found = api.preview(settings, root, workers=workers)
    if form:
        emit(found.estimate.rows(), [], form)
        click.echo(found.estimate.summary(), err=True)
        return
    from rich.console import Console

    terminal = sys.stdout.isatty()
    Console(width=None if terminal else 100, highlight=False, soft_wrap=False).print(found)
