"""Tables on standard output: aligned columns for people, JSON or CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import click

from x_instruction.terminal import plain

Format = Literal["table", "json", "csv"]
Row = Mapping[str, Any]
# A table that goes into a file or a pipe is as wide as its cells.
_NO_LIMIT = 100_000
# The last column is at least as wide, in a terminal that is too narrow for the others.
_LAST = 24


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the aligned table.

    Args:
        title: the head of the column.
        value: the key of the row, or a function that gives the cell's text.
        spec: format specification for a number, such as ``,`` or ``.3f``, or ``>`` for text; the column is then
            aligned to the right.
    """

    title: str
    value: str | Callable[[Row], str]
    spec: str = ""

    def cell(self, row: Row) -> str:
        """The text of a row's cell; ``-`` where there is no value."""
        if not isinstance(self.value, str):
            return self.value(row)
        content = row[self.value]
        if content is None or (isinstance(content, float) and math.isnan(content)):
            return "-"
        return " ".join(map(str, content)) if isinstance(content, list | tuple) else format(content, self.spec)


def format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json`` and ``--csv``: how a table is printed."""
    for name, text in (("csv", "Print the table as CSV."), ("json", "Print the table as JSON.")):
        command = click.option(f"--{name}", "form", flag_value=name, default=None, help=text)(command)
    return command


def emit(rows: Sequence[Row], columns: Sequence[Column], form: Format | None = None) -> None:
    """Print rows on standard output.

    Args:
        rows: one mapping per row, of plain values. JSON and CSV hold all of them.
        columns: what the aligned table shows of each row.
        form: ``json``, ``csv``, or an aligned table.
    """
    if form == "json":
        click.echo(json.dumps([_plain(row) for row in rows], indent=1, ensure_ascii=False, allow_nan=False))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if rows:
            writer.writerow(rows[0])
        writer.writerows([_field(value) for value in row.values()] for row in rows)
    else:
        _table(rows, columns)


def _table(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Print the aligned table. Only the last column is wrapped to the width of the terminal."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[plain(column.cell(row)) for column in columns] for row in rows]
    widths = [
        max(cell_len(text) for text in (column.title, *texts))
        for column, texts in zip(columns, zip(*cells, strict=True) if cells else [()] * len(columns), strict=True)
    ]
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="", padding=(0, 2, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        last = column is columns[-1]
        justify: Literal["left", "right"] = "right" if column.spec else "left"
        table.add_column(Text(column.title), justify=justify, no_wrap=not last, overflow="fold")
        if not last:
            table.columns[-1].min_width = width
    for line in cells:
        table.add_row(*map(Text, line))
    least = sum(widths[:-1]) + 2 * len(widths) + min(widths[-1], _LAST)
    console = Console(width=max(least, shutil.get_terminal_size((_NO_LIMIT, 24)).columns), color_system=None)
    with console.capture() as captured:
        console.print(table)
    for line_of_text in captured.get().splitlines():
        click.echo(line_of_text.rstrip())


def _plain(value: Any) -> Any:
    """A value as JSON has it: not a number is null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _field(value: Any) -> Any:
    """A value as CSV has it: a list is separated by spaces, a mapping is JSON, what is missing is empty."""
    value = _plain(value)
    if isinstance(value, list):
        return " ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
