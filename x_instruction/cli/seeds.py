"""``x-instruction seeds``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import read_sets


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--language", "tag", required=True, help="Language of the responses, as sw.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .jsonl or .parquet.")
@click.option("--against", multiple=True, metavar="FILE", help="Evaluation set that no seed may repeat.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a key of the section, as count=1000.")
def command(sources: tuple[Path, ...], tag: str, out: Path, against: tuple[str, ...], sets: tuple[str, ...]) -> None:
    """Take seed pairs from SOURCES: conversation trees (OASST), parallel documents or instruction files.

    Duplicates, responses in another language and what an evaluation set holds are dropped; the reasons stand beside
    the file.
    """
    import dataclasses

    from x_instruction.config.recipe import Seeds, parse
    from x_instruction.errors import CorpusError
    from x_instruction.languages import language
    from x_instruction.seed.collect import collect, none_kept

    wanted = language(tag)
    settings = parse(Seeds, "", "seeds", read_sets(sets))
    settings = dataclasses.replace(settings, evaluation=(*settings.evaluation, *against))
    report = collect(sources, settings, wanted, out)
    for reason, number in report["dropped"].items():
        click.echo(f"dropped  {reason:24} {number:9,}", err=True)
    if not report["kept"]:
        gone = out.with_suffix(".dropped.parquet")
        raise CorpusError(
            f"{none_kept(wanted, sources, report['dropped'])}: {out} is empty, {gone} says of each row why"
        )
    click.echo(f"{out}: {report['kept']:,} seeds of {report['rows_in']:,} rows")
