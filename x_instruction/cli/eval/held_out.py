"""``x-instruction eval held-out``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.options import limit_option, out_option, read_sets, set_option
from x_instruction.cli.tables import Column, Format, Row, emit, format_options

if TYPE_CHECKING:
    from x_instruction.evaluation.held_out import Difference, Metrics


@click.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option("--adapter", metavar="FOLDER", help="LoRA adapter on top of MODEL: a folder or a Hub id.")
@limit_option("rows")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    metavar="N",
    help="Score the first N tokens of a response.",
)
@click.option(
    "--answer-tokens",
    type=click.IntRange(1),
    default=48,
    show_default=True,
    metavar="N",
    help="Generate answers of N tokens.",
)
@click.option("--prompt", default="auto", show_default=True, help="Prompt template: chat, answer, or a file.")
@click.option(
    "--tag",
    metavar="TEXT",
    help="Text at the end of prompts, such as 'Answer in {name}.'; '' for none.  [default: as the model was trained]",
)
@click.option(
    "--lid-model", metavar="FILE", help="fastText model for languages that the built-in identifier does not know."
)
@out_option("Write the results of every row to a file, .json")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="File that --out wrote for another model: show the differences to it.",
)
@set_option("engine=vllm")
@format_options
def command(
    model: str,
    data: tuple[str, ...],
    adapter: str | None,
    limit: int | None,
    max_tokens: int,
    answer_tokens: int,
    prompt: str,
    tag: str | None,
    lid_model: str | None,
    out: Path | None,
    baseline: Path | None,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Evaluate MODEL on held-out DATA, per language.

    Prints bits per byte of the responses (lower is better), the share of generated answers in the right language, and
    the score: that share times 2 to the power of minus the bits per byte. Parentheses hold 95 % bootstrap intervals.

    DATA is a folder that `build` wrote (its test split, or else validation), or a file of instructions. TAG=PATH sets
    the language of the responses if the rows do not state it.

    A model that was trained on a mix with source tags is asked with the tags that the mix sets for inference.
    """
    from x_instruction.api import measure_held_out
    from x_instruction.config.model import Model
    from x_instruction.config.section import validate
    from x_instruction.errors import RecipeError
    from x_instruction.evaluation.held_out import check_same_settings, difference, load, save, summary

    overrides = {"name": model, **read_sets(sets)}
    if adapter is not None:
        overrides["adapter"] = adapter
    settings = validate(Model, {}, overrides)
    lengths = {"max_tokens": max_tokens, "answer_tokens": answer_tokens}
    if out and out.suffix != ".json":
        raise RecipeError(f"--out is {out}, expected a .json file")
    other = load(baseline) if baseline else None
    if other:
        check_same_settings(lengths, other)
    measurement = measure_held_out(
        settings,
        data,
        limit=limit,
        max_tokens=max_tokens,
        answer_tokens=answer_tokens,
        prompt=prompt,
        tag=tag,
        lid_model=lid_model,
        log=lambda text: click.echo(text, err=True),
    )
    results = measurement.results
    if out:
        save(measurement, out)
    _emit(summary(results), difference(results, other.results) if other else {}, other.model if other else "", form)


_METRICS = ("bits_per_byte", "language_accuracy", "score")


def _emit(
    figures: Mapping[str, Metrics], differences: Mapping[str, Difference], baseline: str, form: Format | None
) -> None:
    """Print the figures and the differences to a baseline: two tables, or one in JSON and CSV."""
    rows = [_row(name, figure) for name, figure in figures.items()]
    deltas = [_row(name, figure, "difference_") for name, figure in differences.items()]
    if form and deltas:
        rows = [{**row, **delta} for row, delta in zip(rows, deltas, strict=True)]
    emit(rows, _columns(), form)
    if not form and deltas:
        click.echo(f"\ndifference to {baseline}, on the same rows")
        emit(deltas, _columns("difference_"))


def _row(language: str, figure: Metrics | Difference, prefix: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {"language": language, "rows": figure.rows}
    for name in _METRICS:
        low, high = getattr(figure, f"{name}_interval")
        row |= {
            f"{prefix}{name}": getattr(figure, name),
            f"{prefix}{name}_low": low,
            f"{prefix}{name}_high": high,
        }
    return row


def _columns(prefix: str = "") -> list[Column]:
    titles = {"bits_per_byte": "bits per byte", "language_accuracy": "language accuracy", "score": "score"}
    return [
        Column("language", "language"),
        Column("rows", "rows", ","),
        *(Column(title, partial(_interval, f"{prefix}{name}")) for name, title in titles.items()),
    ]


def _interval(name: str, row: Row) -> str:
    return f"{row[name]:.4f} ({row[f'{name}_low']:.4f} to {row[f'{name}_high']:.4f})"
