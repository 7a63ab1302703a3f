"""``x-instruction build``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import read_run
from x_instruction.storage.run_folder import RunFolder


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the data set.  [default: FOLDER/dataset]")
def command(folder: Path, out: Path | None) -> None:
    """Write the data set of the run in FOLDER as the Hub serves it, load it back and compare.

    Parquet files of one schema, one config per language, a card whose numbers come from the run's own reports.
    """
    from x_instruction.builders.layout import build

    settings = read_run(folder)
    target = out or folder / "dataset"
    build(RunFolder(folder), settings, target, lambda text: click.echo(text, err=True))
    click.echo(f'{target}: load_dataset("{target}", "{settings.languages[0]}")')
