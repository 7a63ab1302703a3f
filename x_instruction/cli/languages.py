"""``x-instruction languages``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from x_instruction.cli.options import read_sets, set_option
from x_instruction.cli.tables import Column, Format, Row, emit, format_options


@click.command()
@click.argument("tags", nargs=-1, required=True)
@click.option(
    "--corpus", "paths", multiple=True, metavar="PATH", help="Read files of text, as corpus.paths. Repeatable."
)
@click.option("--model", metavar="NAME", help="Count tokens as this model: a folder, a Hub id or `embedded`.")
@click.option("--recipe", metavar="NAME", help="Take corpus, model and prices from a recipe, a name or a file.")
@set_option("corpus.filters.lid_model=glotlid.bin")
@format_options
def command(
    tags: tuple[str, ...],
    paths: tuple[str, ...],
    model: str | None,
    recipe: str | None,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Report what languages would give and cost, before a run.

    TAGS are language tags, such as sw or zh-Hant. Without --corpus and --recipe, the sample corpus is read. Without
    --model and --recipe, no tokens are counted.

    Reads the first 200 documents of each language and asks no model. Prints how much text is kept, the most frequent
    reason to drop, the tokens for the same text as a multiple of English, and what writing costs at most if there are
    prices. The verdict is `go`, or what speaks against the language: no identifier knows it, less than 20 % is kept,
    over 20 % is identified as another language, or the tokenizer needs over 4 times the tokens of English.

    --json has all reasons, all identified languages, and the tokens.

    Exit code 2: something speaks against a language.
    """
    from x_instruction.config.recipe import load
    from x_instruction.pipeline.language_report import reports

    overrides: dict[str, Any] = {"languages": [*dict.fromkeys(tag for text in tags for tag in text.split(",") if tag)]}
    if recipe is None and not paths:
        overrides |= {"corpus.source": "sample"}
    if paths:
        overrides |= {"corpus.source": "files", "corpus.paths": list(paths)}
    if model is not None:
        overrides |= {"generate.model.name": model, "generate.model.adapter": None}
    settings = load(recipe or "files", overrides | read_sets(sets))
    found = reports(settings, count_tokens=model is not None or recipe is not None)
    emit([asdict(report) for report in found], _columns(any(report.cost is not None for report in found)), form)
    if not all(report.go for report in found):
        raise SystemExit(2)


def _columns(is_priced: bool) -> list[Column]:
    return [
        Column("language", "language"),
        Column("kept", "share", ".0%"),
        Column("dropped", _reason),
        Column("tokens", "against_english", ".2f"),
        Column("passages", "passages", ","),
        *([Column("cost", _cost)] if is_priced else []),
        Column("verdict", "why"),
    ]


def _reason(row: Row) -> str:
    return next((f"{reason} {number}" for reason, number in row["dropped"].items()), "-")


def _cost(row: Row) -> str:
    from x_instruction.pipeline.status import money

    return "-" if row["cost"] is None else money(row["cost"])
