"""``x-instruction build``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import Location, out_option


@click.command()
@click.argument("folder", type=Location())
@click.option(
    "--corrections",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Corrected instructions that `review collect` wrote. Repeatable.",
)
@out_option("Folder of the data set", "FOLDER/dataset")
def command(folder: str | Path, corrections: tuple[Path, ...], out: Path | None) -> None:
    """Build the data set of the run in FOLDER.

    Writes the layout of the Hub: Parquet files of one schema, one config per language, a card whose
    numbers come from the run's reports, and a page to look at (report.html); then
    loads the data set and compares it with the run.
    """
    from x_instruction.api import Run
    from x_instruction.builders.manifest import Manifest

    target = Run(folder).build(out, lambda text: click.echo(text, err=True), corrections)
    # Not the first language of the recipe, which may have no rows.
    click.echo(f'{target}: load_dataset("{target}", "{Manifest.read(target).default}")')
