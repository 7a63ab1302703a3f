"""``x-instruction preview``."""

from __future__ import annotations

from dataclasses import asdict

import click

from x_instruction.cli.options import read_recipe, recipe_options, workers_option
from x_instruction.cli.tables import Column, Format, Row, emit, format_options


@click.command()
@click.argument("recipe")
@workers_option
@recipe_options
@format_options
def command(
    recipe: str,
    workers: int,
    languages: tuple[str, ...],
    limit: int | None,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Estimate what a run of RECIPE takes, from a small probe.

    RECIPE is a file, or the name of a recipe that ships: see `x-instruction recipe list`.

    Prints passages, requests, tokens and time per language, and the cost if the recipe has prices. Nothing is kept.
    """
    from x_instruction.languages import language
    from x_instruction.pipeline.estimate import estimate
    from x_instruction.pipeline.execute import default_workers
    from x_instruction.refine import check

    settings = read_recipe(recipe, languages, limit, sets)
    check(settings.refine)
    probe = estimate(settings, workers or default_workers(settings))
    passages = f"{probe.rows} passage{'s' if probe.rows != 1 else ''}"
    click.echo(f"probe: {passages} of {language(probe.language).name}, 1 worker", err=bool(form))
    emit([asdict(row) for row in probe.languages], _columns(probe.priced), form)
    click.echo(probe.summary(), err=bool(form))


def _columns(priced: bool) -> list[Column]:
    return [
        Column("language", "language"),
        Column("documents", "documents", ","),
        Column("passages", "passages", ","),
        Column("requests", "requests", ","),
        Column("tokens in", "prompt_tokens", ","),
        Column("tokens out", "output_tokens", ","),
        *([Column("cost", _cost)] if priced else []),
        Column("time", _time),
    ]


def _cost(row: Row) -> str:
    from x_instruction.pipeline.status import money

    return "-" if row["cost"] is None else money(row["cost"])


def _time(row: Row) -> str:
    from x_instruction.pipeline.progress import duration

    return "-" if row["seconds"] is None else duration(row["seconds"])
