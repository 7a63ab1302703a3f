"""``x-instruction eval held-out``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.eval.asking import lid_model_option, record_option
from x_instruction.cli.options import limit_option, out_option, overwrite_option, read_sets, set_option
from x_instruction.cli.tables import Column, Format, Row, emit, format_options

if TYPE_CHECKING:
    from x_instruction.evaluation.held_out import Difference, Metrics
    from x_instruction.evaluation.intrinsic import IntrinsicMetrics


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
    help="Text at the end of prompts; '' for none.  [default: as the model was trained, or 'Answer in {name}.']",
)
@lid_model_option
@click.option("--gain", is_flag=True, help="Also measure whether the model uses the instruction (11 times the cost).")
@out_option("Write the results of every row to a file, .json")
@record_option
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="File that --out wrote for another model: show the differences to it.",
)
@overwrite_option
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
    gain: bool,
    out: Path | None,
    record: Path | None,
    baseline: Path | None,
    overwrite: bool,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Evaluate MODEL on held-out DATA, per language.

    Prints bits per byte of the responses (lower is better), the share of generated answers in the right language, and
    the score: that share times 2 to the power of minus the bits per byte. Parentheses hold 95 % bootstrap intervals.

    DATA is a folder that `build` wrote (its test split, or else validation), or a file of instructions. TAG=PATH sets
    the language of the responses if the rows do not state it.

    A model that was trained on a mix with source tags is asked with the tags that the mix sets for inference. Others
    are asked to "Answer in Swahili." if the instruction is in another language.

    With --gain, a second table has the conditional gain, the logarithm of how much likelier a response is after its own
    instruction than after that of another page, and the share of responses that gain most from their own instruction,
    among the ten that are most alike.
    """
    from x_instruction.api import measure_held_out
    from x_instruction.config.model import Model
    from x_instruction.config.section import validate
    from x_instruction.errors import RecipeError
    from x_instruction.evaluation.held_out import check_same_settings, difference, load, save, summary
    from x_instruction.evaluation.intrinsic import intrinsic_metrics
    from x_instruction.evaluation.intrinsic_records import HELD_OUT, conditionals, write_held_out
    from x_instruction.evaluation.models import model_info
    from x_instruction.evaluation.record import check_target

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
    decisive = {"data": [Path(name).name for name in data], "limit": limit, "prompt": prompt, "tag": tag, "gain": gain}
    if record:
        check_target(record, HELD_OUT, model_info(settings), decisive | lengths, overwrite)
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
        gain=gain,
    )
    results = measurement.results
    if out:
        save(measurement, out)
    if record:
        path = write_held_out(record, model_info(settings), measurement, decisive | lengths, overwrite)
        click.echo(f"written: {path}", err=True)
    gains = intrinsic_metrics(measured) if (measured := conditionals(results)) else {}
    differences = difference(results, other.results) if other else {}
    _emit(summary(results), differences, other.model if other else "", gains, form)


_METRICS = ("bits_per_byte", "language_accuracy", "score")


def _emit(
    figures: Mapping[str, Metrics],
    differences: Mapping[str, Difference],
    baseline: str,
    gains: Mapping[str, IntrinsicMetrics],
    form: Format | None,
) -> None:
    """Print the figures, the gains and the differences to a baseline: a table each, or one in JSON and CSV."""
    rows = [_row(name, figure) for name, figure in figures.items()]
    gained = [_gain_row(name, gain) for name, gain in gains.items()]
    if form and gained:
        rows = [{**row, **gain} for row, gain in zip(rows, gained, strict=True)]
    deltas = [_row(name, figure, "difference_") for name, figure in differences.items()]
    if form and deltas:
        rows = [{**row, **delta} for row, delta in zip(rows, deltas, strict=True)]
    emit(rows, _columns(), form)
    if not form and gained:
        click.echo("")
        emit(gained, _GAINS)
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


def _gain_row(language: str, found: IntrinsicMetrics) -> dict[str, Any]:
    row: dict[str, Any] = {"language": language, "rows": found.rows}
    for name in ("gain", "found"):
        low, high = getattr(found, f"{name}_interval")
        row |= {name: getattr(found, name), f"{name}_low": low, f"{name}_high": high}
    return row | {"chance": found.chance}


def _columns(prefix: str = "") -> list[Column]:
    titles = {"bits_per_byte": "bits per byte", "language_accuracy": "language accuracy", "score": "score"}
    return [
        Column("language", "language"),
        Column("rows", "rows", ","),
        *(Column(title, partial(_interval, f"{prefix}{name}")) for name, title in titles.items()),
    ]


def _interval(name: str, row: Row) -> str:
    return f"{row[name]:.4f} ({row[f'{name}_low']:.4f} to {row[f'{name}_high']:.4f})"


_GAINS = [
    Column("language", "language"),
    Column("rows", "rows", ","),
    Column("conditional gain", partial(_interval, "gain")),
    Column("own response found", partial(_interval, "found")),
    Column("chance", "chance", ".3f"),
]
