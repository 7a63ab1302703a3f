"""Draw one row of a built data set for the README: ``python tools/make_row_image.py FOLDER LANGUAGE [ROW]``.

The picture is docs/images/row.svg.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import datasets
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.terminal_theme import MONOKAI
from rich.text import Text

TARGET = Path(__file__).parent.parent / "docs" / "images" / "row.svg"
WIDTH = 92


def picture(row: dict[str, object], language: str) -> str:
    """The row as an SVG: instruction, response, and where it is from."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    table.add_row("instruction", Text(str(row["instruction"]), style="bold"))
    table.add_row("", "")
    table.add_row("output", Text(str(row["output"])))
    table.add_row("", "")
    for name in ("score", "source", "license", "id"):
        value = row[name]
        table.add_row(name, Text(f"{value:.2f}" if isinstance(value, float) else str(value), style="dim"))
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Panel(table, title=f'load_dataset(..., "{language}")', title_align="left"))
    image = console.export_svg(title="x_instruction", theme=MONOKAI, unique_id="row")
    # The template names fonts of a content network; without them the picture needs no network.
    return re.sub(r"@font-face \{.*?\}\n", "", image, flags=re.DOTALL)


def main(folder: str, language: str, number: str = "0") -> None:
    """Draw the row."""
    row = datasets.load_dataset(folder, language, split="train")[int(number)]
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(picture(row, language), "utf-8")
    print(TARGET)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: make_row_image.py FOLDER LANGUAGE [ROW], with a folder that `x-instruction build` wrote")
    main(*sys.argv[1:])
