"""``x-instruction status``."""

from pathlib import Path

import click

from x_instruction.cli.options import read_run
from x_instruction.run.status import table, totals
from x_instruction.shards import Run


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Show what the run in FOLDER has made: rows, drops, seconds and tokens over all attempts."""
    read_run(folder)
    found = totals(Run(folder))
    click.echo(table(found) if found else f"{folder}: nothing is complete yet")
