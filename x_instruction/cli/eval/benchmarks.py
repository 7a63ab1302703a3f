"""``x-instruction eval benchmarks``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.eval.asking import model_settings, progress
from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import (
    languages_option,
    limit_option,
    out_option,
    overwrite_option,
    set_option,
)
from x_instruction.cli.tables import Column, Format, Row, emit, format_options

if TYPE_CHECKING:
    from x_instruction.evaluation.metric import Metric


@click.command()
@click.argument("model", required=False)
@click.option("--tasks", metavar="NAMES", help="Benchmarks or tasks, such as xcopa,xnli. [default: belebele]")
@languages_option("those of the paper that a benchmark has")
@click.option("--shots", default="0", show_default=True, metavar="NUMBERS", help="Examples in the prompt, such as 0,5.")
@limit_option("items")
@click.option(
    "--include",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of task files (YAML), as --include_path of lm-evaluation-harness. Repeatable.",
)
@out_option("Folder of the results", "evals/MODEL")
@click.option("--adapter", metavar="FOLDER", help="LoRA adapter on top of MODEL: a folder or a Hub id.")
@click.option("--list", "listed", is_flag=True, help="List the benchmarks with their languages, and exit.")
@overwrite_option
@set_option("engine=vllm")
@format_options
def command(
    model: str | None,
    tasks: str | None,
    languages: tuple[str, ...],
    shots: str,
    limit: int | None,
    include: tuple[Path, ...],
    out: Path | None,
    adapter: str | None,
    listed: bool,
    overwrite: bool,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Evaluate MODEL on benchmarks of lm-evaluation-harness.

    Runs on every engine that can score texts. Parentheses hold 95 % intervals by item. --out receives a record of all
    figures and a file of all samples, for `eval compare`. An interrupted command continues where it stopped.

    Where the items of a benchmark are the same in several languages, consistency_N is the share of sets of N languages
    with equal answers, right or wrong, and ac3_N its harmonic mean with accuracy. If tasks end in _prompt_1 to
    _prompt_5, both are the median over these prompts.
    """
    from x_instruction.errors import RecipeError

    names = tuple(name.strip() for name in (tasks or "").split(",") if name.strip())
    if listed:
        _list(languages, include, form)
        return
    if not model:
        raise RecipeError("no model is named: expected `x-instruction eval benchmarks MODEL`, or --list")
    from x_instruction.evaluation.benchmarks import check_shots, run

    numbers = check_shots(shots)
    settings = model_settings(model, adapter, (f"threads={os.cpu_count() or 1}", *sets))
    folder = out or Path("evals") / Path(model).name
    kept(f"answers are kept in {folder}; rerun the same command to continue")
    metrics = run(
        settings,
        names,
        languages,
        numbers,
        limit,
        include,
        folder,
        overwrite=overwrite,
        log=lambda text: click.echo(text, err=True),
        on_progress=progress(),
    )
    emit([_row(metric) for metric in metrics], _COLUMNS, form)
    click.echo(f"written: {folder / 'benchmarks.json'}", err=True)


def _list(languages: tuple[str, ...], include: tuple[Path, ...], form: Format | None) -> None:
    from x_instruction.evaluation.coverage import coverage
    from x_instruction.evaluation.harness import Tasks
    from x_instruction.languages import PAPER_LANGUAGES, language

    tags = [language(tag).tag for tag in languages] or PAPER_LANGUAGES
    rows = [
        {
            "benchmark": benchmark.name,
            "origin": benchmark.origin,
            "measures": benchmark.measures,
            "languages": found,
        }
        for benchmark, found in coverage(tags, Tasks(include).names)
    ]
    emit(rows, _LISTED, form)


def _row(metric: Metric) -> dict[str, Any]:
    return {
        "benchmark": metric.task,
        "language": metric.language or "all",
        "shots": metric.parameters.get("shots"),
        "prompt": metric.parameters.get("prompt"),
        "metric": metric.name,
        "items": metric.n,
        "value": metric.value,
        "low": metric.low,
        "high": metric.high,
    }


def _value(row: Row) -> str:
    interval = "" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})"
    return f"{row['value']:.3f}{interval}"


_COLUMNS = [
    Column("benchmark", "benchmark"),
    Column("language", "language"),
    Column("shots", "shots", "d"),
    Column("prompt", "prompt", "d"),
    Column("metric", "metric"),
    Column("items", "items", ","),
    Column("value", _value),
]
_LISTED = [
    Column("benchmark", "benchmark"),
    Column("items are", "origin"),
    Column("measures", "measures"),
    Column("languages", lambda row: " ".join(row["languages"]) or "-"),
]
