"""``x-instruction seeds rewrite``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import out_option, read_sets, set_option


@click.command()
@click.argument("pairs", nargs=-1, required=True, type=click.Path(path_type=Path))
@out_option("File to write, .jsonl", required=True)
@set_option("model.name=org/chat-model")
def command(pairs: tuple[Path, ...], out: Path, sets: tuple[str, ...]) -> None:
    """Rewrite the responses of PAIRS from their natural text.

    PAIRS are Parquet files of a built data set, files of `export`, or any files of instructions with a column language.

    A chat model keeps what answers the instruction and leaves out the rest of the page. The natural text is kept in the
    column natural_output. A rewrite in another language, a truncated one, or one with numbers or names that the page
    does not have is refused: the pair then keeps its natural text, and the column rewrite names the reason. Refused
    rewrites and the answers of the model are written beside the file. If interrupted, rerun the same command to
    continue.

    Keys: model.* (model.name is required), prompt, fallback (natural or drop), passage_tokens, max_tokens, temperature,
    seed, min_length, max_length, check_numbers, check_names, language_check, min_confidence, min_script,
    max_foreign_lines, lid_model, lid_ensemble, max_row_bytes.
    """
    from x_instruction.config.rewrite import Rewriting
    from x_instruction.config.section import validate
    from x_instruction.rewrite import write

    settings = validate(Rewriting, {}, read_sets(sets))
    progress = _seen if sys.stderr.isatty() else lambda done, known: None
    kept(f"answers are kept beside {out}; rerun the same command to continue")
    report = write(pairs, settings, out, progress)
    for outcome, number in report["outcomes"].items():
        click.echo(f"{outcome:24} {number:9,}", err=True)
    for reason, number in report["dropped"].items():
        click.echo(f"dropped  {reason:15} {number:9,}", err=True)
    click.echo(f"{out}: {report['kept']:,} of {report['rows_in']:,} rows")


def _seen(done: int, known: int) -> None:
    click.echo(f"\r{done:,} of {known:,} requests", err=True, nl=done == known)
