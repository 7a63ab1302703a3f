"""``x-instruction status``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from x_instruction.cli.tables import Column, Format, Row, emit, format_options

if TYPE_CHECKING:
    from x_instruction.api import Run


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@format_options
def command(folder: Path, form: Format | None) -> None:
    """Show what the run in FOLDER has made so far.

    Prints rows, dropped rows by reason, seconds, tokens and costs per stage and
    language, over all attempts. Warns of a stage that kept no row of a language, or
    dropped over 90 % of its rows for one reason.
    """
    from x_instruction.api import Run

    run = Run(folder)
    show(run, form)
    for loss in run.losses():
        click.echo(f"warning: {loss}", err=bool(form))


def show(run: Run, form: Format | None = None) -> None:
    """Print the sums of a run, and what it has cost."""
    from x_instruction.pipeline.status import spending

    totals = run.totals()
    rows = [asdict(total) for total in totals]
    if rows or form:
        emit(rows, _columns(any(row["cost"] for row in rows)), form)
    else:
        click.echo(f"{run.folder}: no shard is complete yet")
    for line in spending(run.files, run.recipe, totals):
        click.echo(line, err=bool(form))


def _columns(priced: bool) -> list[Column]:
    return [
        Column("stage", _stage),
        Column("language", "language"),
        Column("shards", _shards),
        Column("in", "rows_in", ","),
        Column("kept", "kept", ","),
        Column("seconds", "seconds", ",.1f"),
        Column("requests", "requests", ","),
        Column("tokens in", "prompt_tokens", ","),
        Column("tokens out", "output_tokens", ","),
        *([Column("cost", _cost)] if priced else []),
        Column("dropped", _dropped),
    ]


def _stage(row: Row) -> str:
    return f"{row['stage']}, round {row['round']}" if row["round"] else str(row["stage"])


def _shards(row: Row) -> str:
    return f"{row['shards']}/{'?' if row['expected'] is None else row['expected']}"


def _cost(row: Row) -> str:
    from x_instruction.pipeline.status import money

    return money(row["cost"]) if row["cost"] else "-"


def _dropped(row: Row) -> str:
    most = sorted(row["dropped"].items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {number:,}" for reason, number in most[:3]) + (", …" if len(most) > 3 else "")
