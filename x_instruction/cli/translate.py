"""``x-instruction translate``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from x_instruction.cli.options import read_sets


@click.command()
@click.argument("seeds", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", "tag", required=True, help="Language of the translations, as sw.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .jsonl or .parquet.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a key, as model.name=embedded.")
def command(seeds: tuple[Path, ...], tag: str, out: Path, sets: tuple[str, ...]) -> None:
    """Translate the responses of SEEDS, which `seeds` wrote or any file of instructions; the instructions stay.

    Translations in the wrong language, cut off, or unlike the original once translated back are dropped; the reasons
    stand beside the file, and so does every answer of the model: a killed run goes on where it was.

    Keys: model.* (model.name is required; model.engine as `x-instruction engines` lists them), back.* (another model to
    translate back), prompt, language, score (chrf or likelihood), min_score, piece_chars, tokens_per_byte, max_tokens,
    score_tokens, language_check, min_confidence, min_script, max_foreign_lines, lid_model, max_row_bytes.
    """
    from x_instruction.config.recipe import parse
    from x_instruction.languages import language
    from x_instruction.pipeline.worker import identity
    from x_instruction.translate import Translation, write

    wanted = language(tag)
    settings = parse(Translation, "", "translate", read_sets(sets))
    report = write(seeds, settings, wanted, out, identity, _seen if sys.stderr.isatty() else lambda done, known: None)
    for reason, number in report["dropped"].items():
        click.echo(f"dropped  {reason:24} {number:9,}", err=True)
    click.echo(f"{out}: {report['kept']:,} seeds of {report['rows_in']:,} rows")


def _seen(done: int, known: int) -> None:
    click.echo(f"\r{done:,} of {known:,} requests", err=True, nl=done == known)
