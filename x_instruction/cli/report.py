"""``x-instruction report``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import out_option


@click.command()
@click.argument("source", metavar="FOLDER|REPO")
@click.option("--compare", metavar="FOLDER|REPO", help="A second set, shown beside the first.")
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Results of `x-instruction eval` to show. Repeatable.",
)
@out_option("The page", "report.html in a run, else NAME-report.html")
def command(source: str, compare: str | None, results: tuple[Path, ...], out: Path | None) -> None:
    """Write a page to look at the rows of a run or data set.

    The page is one HTML file that works offline: rows with their instruction
    beside the response, filters and search, what was dropped and why, charts,
    sources and cost.
    """
    from x_instruction.api import report

    click.echo(report(source, out, compare=compare, results=results))
