"""``x-instruction status``."""

from pathlib import Path

import click

from x_instruction.cli.options import read_run
from x_instruction.pipeline.status import spending, table, totals
from x_instruction.storage.run_folder import RunFolder


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Show what the run in FOLDER has made: rows, drops, seconds, tokens and costs over all attempts."""
    settings, run = read_run(folder), RunFolder(folder)
    found = totals(run, settings)
    click.echo(table(found) if found else f"{folder}: nothing is complete yet")
    for line in spending(run, settings, found):
        click.echo(line)
