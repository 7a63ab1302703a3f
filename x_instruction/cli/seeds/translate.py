"""``x-instruction seeds translate``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import languages_option, out_option, per_language, read_sets, set_option


@click.command()
@click.argument("seeds", nargs=-1, required=True, type=click.Path(path_type=Path))
@languages_option(required=True)
@out_option("File to write, .jsonl or .parquet; with several languages, such as seeds/{tag}.jsonl", required=True)
@set_option("model.name=embedded")
def command(seeds: tuple[Path, ...], languages: tuple[str, ...], out: Path, sets: tuple[str, ...]) -> None:
    """Translate the responses of SEEDS; keep the instructions.

    SEEDS are files that `seeds collect` wrote, or any files of instructions.

    Drops translations in another language, truncated ones, and those that differ from the original when translated
    back. The reasons and the answers of the model are written beside the file. If interrupted, rerun the same command
    to continue.

    Keys: model.* (model.name is required), back.* (another model to translate back), prompt, language, score
    (chrf or likelihood), min_score, piece_chars, tokens_per_byte, max_tokens, score_tokens, language_check,
    min_confidence, min_script, max_foreign_lines, lid_model, lid_ensemble, max_row_bytes.
    """
    from x_instruction.config.section import validate
    from x_instruction.config.seeds import Translation
    from x_instruction.languages import language
    from x_instruction.translate import write

    targets = per_language(out, languages)
    settings = validate(Translation, {}, read_sets(sets))
    progress = _seen if sys.stderr.isatty() else lambda done, known: None
    for tag, target in targets.items():
        kept(f"answers are kept beside {target}; rerun the same command to continue")
        report = write(seeds, settings, language(tag), target, progress)
        for reason, number in report["dropped"].items():
            click.echo(f"dropped  {reason:24} {number:9,}", err=True)
        click.echo(f"{target}: {report['kept']:,} seeds of {report['rows_in']:,} rows")


def _seen(done: int, known: int) -> None:
    click.echo(f"\r{done:,} of {known:,} requests", err=True, nl=done == known)
