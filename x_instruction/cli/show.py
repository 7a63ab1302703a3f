"""``x-instruction show``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from x_instruction.cli.options import languages_option, limit_option
from x_instruction.errors import RecipeError
from x_instruction.terminal import plain

if TYPE_CHECKING:
    from x_instruction.cli.rows import Entry, Rows

# Named here because help must not import the records; a test holds them equal to ``records.STAGES``.
STAGES = ("passage", "candidate", "rated", "curated")
# Characters of a text, unless one row is asked for.
_MOST = 600
# Columns of a text in a file or a pipe.
_WIDTH = 100


@click.command()
@click.argument("source")
@click.option("--stage", type=click.Choice(STAGES), metavar="STAGE", help=f"Rows of a run: {', '.join(STAGES)}.")
@click.option("--round", type=click.IntRange(0), metavar="N", help="Round of refinement of these rows.")
@click.option(
    "--dropped", is_flag=False, flag_value="", metavar="[REASON]", help="Dropped rows of a run, of any or one reason."
)
@click.option("--search", metavar="TEXT", help="Only rows that contain TEXT, in any case.")
@click.option("--id", "row_id", metavar="ID", help="Only the row with this id, with its whole text.")
@languages_option("all")
@limit_option("rows", default=5)
@click.option("--no-pager", is_flag=True, help="Print at once, without a pager.")
def command(
    source: str,
    stage: str | None,
    round: int | None,
    dropped: str | None,
    search: str | None,
    row_id: str | None,
    languages: tuple[str, ...],
    limit: int,
    no_pager: bool,
) -> None:
    """Show rows of SOURCE: instruction above response.

    SOURCE is the folder of a run or of a built data set, the id of a data set on the
    Hub, or a Parquet, JSON or JSON Lines file. Of a run, the last stage that has rows
    is shown. On a terminal, a pager opens if the rows do not fit.
    """
    from x_instruction.cli.rows import dropped_as, find_rows

    rows = find_rows(source, stage, round, dropped)
    tags = _languages(source, rows, languages)
    chosen = _chosen(rows, tags, search, row_id, limit)
    first = next(chosen, None)
    if first is None:
        raise RecipeError(_nothing(source, rows, languages, search, row_id) + (dropped_as(source, row_id or "")))
    terminal = sys.stdout.isatty()
    width = max(20, shutil.get_terminal_size().columns - 1) if terminal else _WIDTH
    most = None if row_id else _MOST
    pages = (shown(one, width, most, terminal) for one in (first, *chosen))
    if terminal and not no_pager:
        # Quit at once if all fits, keep colours, and leave what was shown on the screen.
        os.environ.setdefault("LESS", "-FRX")
        click.echo_via_pager(pages, color=True)
    else:
        for page in pages:
            click.echo(page, nl=False)


def _languages(source: str, rows: Rows, names: tuple[str, ...]) -> list[str]:
    """The tags to show.

    Raises:
        RecipeError: the source does not have one of them.
    """
    from x_instruction.languages import language

    tags = [language(name).tag for name in names] or rows.languages
    for tag in tags:
        if tag not in rows.languages:
            known = ", ".join(rows.languages) if any(rows.languages) else "not named in its rows"
            raise RecipeError(f"{source} does not have the language {tag!r}; its languages are {known}")
    return tags


def _chosen(rows: Rows, tags: list[str], search: str | None, row_id: str | None, limit: int) -> Iterator[Entry]:
    for tag in tags:
        found = (
            one
            for one in rows.entries(tag)
            if (row_id is None or one.id == row_id) and (search is None or one.has(search))
        )
        yield from islice(found, limit)


def _nothing(source: str, rows: Rows, languages: tuple[str, ...], search: str | None, row_id: str | None) -> str:
    """The message where there is no row to show."""
    if row_id is not None:
        ids = [one.id for one in islice((one for tag in rows.languages for one in rows.entries(tag)), 2)]
        return f"{source} has no row with the id {row_id!r} here; its first ids are {', '.join(ids) or 'none'}"
    stage = f"{rows.stage} " if hasattr(rows, "stage") else ""
    of = f" of {', '.join(languages)}" if languages else ""
    if search is not None:
        return f"{source} has no {stage}row{of} that contains {search!r}"
    return f"{source} has no {stage}rows{of}: see `x-instruction status {source}`"


def shown(one: Entry, width: int, most: int | None, colour: bool) -> str:
    """A row for people: its id and facts, the instruction, and the response, wrapped to ``width`` columns.

    Args:
        most: characters of instruction and text at most; None for all.
        colour: mark the parts with colours.
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(width=width, force_terminal=colour, color_system="standard" if colour else None, highlight=False)
    head = Text(plain(one.id), "bold")
    if one.reason:
        head.append(f"  {plain(one.reason, 300)}", "red")
    if one.facts:
        head.append(f"  {plain(one.facts, 300)}", "not bold dim")
    with console.capture() as captured:
        console.print(head)
        if one.prompt:
            console.print(Padding(Text(plain(one.prompt, most), "green"), (0, 0, 0, 2)))
        if one.text:
            console.print(Padding(Text(plain(one.text, most)), (0, 0, 0, 2)))
    # Padding fills lines with spaces to their end, which a terminal would wrap after it was made narrower.
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n\n"
