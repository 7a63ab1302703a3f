"""``x-instruction preview``."""

from __future__ import annotations

import click

from x_instruction.cli.options import read_recipe, recipe_options, workers_option


@click.command()
@click.argument("recipe")
@workers_option
@recipe_options
def command(recipe: str, workers: int, languages: tuple[str, ...], limit: int | None, sets: tuple[str, ...]) -> None:
    """Estimate what a run of RECIPE takes, from a small probe.

    Prints passages, requests, tokens and time per language, and the cost if the
    recipe has prices. Nothing is kept.
    """
    from x_instruction.pipeline.estimate import estimate
    from x_instruction.pipeline.execute import default_workers
    from x_instruction.refine import check

    settings = read_recipe(recipe, languages, limit, sets)
    check(settings.refine)
    for line in estimate(settings, workers or default_workers(settings)):
        click.echo(line)
