"""``x-instruction eval language``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.eval.asking import lid_model_option, model_settings
from x_instruction.cli.options import languages_option, overwrite_option, set_option
from x_instruction.cli.tables import Column, Format, Row, emit, format_options

if TYPE_CHECKING:
    from x_instruction.evaluation.language_results import LanguageResult


@click.command()
@click.argument("answers", type=click.Path(path_type=Path))
@languages_option("all of ANSWERS")
@click.option("--fluency", metavar="MODEL", help="Reference model for the fluency of answers in the right language.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    metavar="N",
    help="Score the first N tokens of an answer.",
)
@lid_model_option
@overwrite_option
@set_option("engine=vllm")
@format_options
def command(
    answers: Path,
    languages: tuple[str, ...],
    fluency: str | None,
    max_tokens: int,
    lid_model: str | None,
    overwrite: bool,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Measure whether ANSWERS are in the right language.

    ANSWERS is a folder that `eval answers` wrote. Its systems get a record each, language-SYSTEM.json, with a file of
    all answers beside it. Parentheses hold 95 % bootstrap intervals.

    \b
    failed    questions that the system could not be asked; they do not count
    right     share of answers in their language; empty ones, and those too short
              to identify, are not
    script    share of letters in the script of the language
    switched  share of characters in sentences of another language
    fluency   bits per byte of the answers in the right language to the model of
              --fluency; lower is more fluent
    """
    from x_instruction.errors import RecipeError
    from x_instruction.evaluation.language_results import measure_languages

    if sets and not fluency:
        raise RecipeError("--set is for the model of --fluency, expected both or neither")
    found = measure_languages(
        answers,
        languages,
        reference=model_settings(fluency, None, sets) if fluency else None,
        max_tokens=max_tokens,
        lid_model=lid_model,
        overwrite=overwrite,
        log=lambda text: click.echo(text, err=True),
    )
    columns = _COLUMNS if fluency else [column for column in _COLUMNS if column.title != "fluency"]
    emit([_row(result) for result in found], columns, form)


def _row(result: LanguageResult) -> dict[str, Any]:
    found = result.metrics
    row: dict[str, Any] = {"language": result.language, "system": result.system}
    row |= {"answers": found.answers if found else 0, "failed": result.failed}
    for name in ("right", "script_share", "switched"):
        low, high = getattr(found, f"{name}_interval") if found else (None, None)
        row |= {name: getattr(found, name) if found else None, f"{name}_low": low, f"{name}_high": high}
    low, high = result.fluency.interval if result.fluency else (None, None)
    row |= {
        "fluency": result.fluency.bits_per_byte if result.fluency else None,
        "fluency_low": low,
        "fluency_high": high,
    }
    return row | {"reasons": dict(found.reasons) if found else {}}


def _right(row: Row) -> str:
    return "-" if row["right"] is None else f"{row['right']:.3f} ({row['right_low']:.3f} to {row['right_high']:.3f})"


def _reasons(row: Row) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(row["reasons"].items())) or "-"


_COLUMNS = [
    Column("language", "language"),
    Column("system", "system"),
    Column("answers", "answers", ","),
    Column("failed", "failed", ","),
    Column("right", _right),
    Column("script", "script_share", ".3f"),
    Column("switched", "switched", ".3f"),
    Column("fluency", "fluency", ".3f"),
    Column("not right", _reasons),
]
