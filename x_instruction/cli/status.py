"""``x-instruction status``, and the table that ``run`` ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.options import Location
from x_instruction.cli.tables import Column, Format, Row, emit, format_options
from x_instruction.cli.wrapping import echo

if TYPE_CHECKING:
    from x_instruction.api import Run
    from x_instruction.pipeline.detached.state import State
    from x_instruction.pipeline.status import Total

drops_option = click.option("--drops", is_flag=True, help="Show dropped rows by reason, too.")
# Heads of the columns of the stages.
_HEADS = {"passage": "passages", "candidate": "candidates", "rated": "rated", "curated": "curated"}


@click.command()
@click.argument("folder", type=Location())
@drops_option
@format_options
def command(folder: str | Path, drops: bool, form: Format | None) -> None:
    """Show what the run in FOLDER has made so far.

    Prints the rows that each stage kept, with tokens and costs over all attempts, and
    with --drops the dropped rows by reason. JSON and CSV have a row per stage and
    language, with every figure. Warns of a stage that kept no row of a language, or
    dropped over 90 % of its rows for one reason.
    """
    from x_instruction.api import Run

    run = Run(folder)
    show(run, drops, form)
    state = detached_state(run)
    if state is not None:
        from x_instruction.pipeline.detached.report import lines

        for line in lines(run.files, state):
            echo(line, err=bool(form))
    for line in _set_aside(run):
        echo(line, err=bool(form))
    for loss in run.losses():
        echo(f"warning: {loss}", err=bool(form))


def detached_state(run: Run) -> State | None:
    """What `run --on slurm` submitted last; None for a run that works here."""
    from x_instruction.pipeline.detached.state import load

    return load(run.files)


def _set_aside(run: Run) -> list[str]:
    """The shards that could not be made, in a line each; of many, the first ones."""
    from x_instruction.pipeline.rounds import stages

    found = [pair for stage in stages(run.recipe) for pair in run.files.failures(stage)]
    lines = [f"set aside: {key}: {failure.reason}" for key, failure in found[:5]]
    return lines + ([f"set aside: {len(found) - 5:,} more"] if found[5:] else [])


def show(run: Run, drops: bool = False, form: Format | None = None) -> None:
    """Print what a run has made, and what it has cost.

    Args:
        run: the run.
        drops: also print dropped rows by reason.
        form: ``json`` or ``csv`` print all figures instead of the table.
    """
    from x_instruction.pipeline.status import spending
    from x_instruction.pipeline.top_up import lines, reached

    totals = run.totals()
    if form:
        emit([asdict(total) for total in totals], [], form)
    elif totals:
        _table(totals)
        if drops:
            click.echo()
            _drops(totals)
    else:
        click.echo(f"{run.location}: no shard is complete yet")
    for line in (*lines(reached(run.files, run.recipe), run.recipe), *spending(run.files, run.recipe, totals)):
        echo(line, err=bool(form))


def _table(totals: Sequence[Total]) -> None:
    """Languages down, stages across: the rows that the last round of each stage kept."""
    made = [stage for stage in _HEADS if any(total.stage == stage for total in totals)]
    rows = [_row(tag, [total for total in totals if total.language == tag]) for tag in _languages(totals)]
    if len(rows) > 1:
        sums = {name: sum(row[name] or 0 for row in rows) for name in rows[0] if name != "language"}
        rows.append({"language": "all", **sums})
    columns = [
        Column("language", "language"),
        *(Column(_HEADS[stage], stage, ",") for stage in made),
        Column("tokens", partial(_short, "tokens"), ">"),
        Column("time", _time, ">"),
        *([Column("cost", _cost, ">")] if any(row["cost"] for row in rows) else []),
    ]
    emit(rows, columns)
    open_shards = [
        f"{total.stage} {total.language} {total.shards}/{'?' if total.expected is None else total.expected}"
        for total in totals
        if total.shards != total.expected
    ]
    if open_shards:
        echo(f"shards so far: {', '.join(open_shards)}")


def _row(tag: str, totals: Sequence[Total]) -> dict[str, Any]:
    # A round rates the candidates of earlier rounds again, so the last one has all of them.
    kept = {total.stage: total.kept for total in sorted(totals, key=lambda total: total.round)}
    return {
        "language": tag,
        **{stage: kept.get(stage) for stage in _HEADS},
        "tokens": sum(total.prompt_tokens + total.output_tokens for total in totals),
        "seconds": sum(total.seconds for total in totals),
        "cost": sum(total.cost for total in totals),
    }


def _drops(totals: Sequence[Total]) -> None:
    columns = [
        Column("language", "language"),
        Column("stage", _stage),
        Column("in", "rows_in", ","),
        Column("kept", "kept", ","),
        Column("dropped", _dropped),
    ]
    order = _languages(totals)
    emit([asdict(total) for total in sorted(totals, key=lambda total: order.index(total.language))], columns)


def _languages(totals: Sequence[Total]) -> list[str]:
    return list(dict.fromkeys(total.language for total in totals))


def _stage(row: Row) -> str:
    return f"{row['stage']}, round {row['round']}" if row["round"] else str(row["stage"])


def _short(name: str, row: Row) -> str:
    from x_instruction.pipeline.status import short_number

    return short_number(row[name])


def _time(row: Row) -> str:
    from x_instruction.pipeline.progress import duration

    return duration(row["seconds"])


def _cost(row: Row) -> str:
    from x_instruction.pipeline.status import money

    return money(row["cost"]) if row["cost"] else "-"


def _dropped(row: Row) -> str:
    most = sorted(row["dropped"].items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {number:,}" for reason, number in most) or "-"
