"""The result of one part: rows of the table and details, written to its JSON file at every change."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, table: dict[str, Any]) -> None:
    """Replace a JSON file atomically: a part can be killed at any moment."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")
    os.replace(new, path)


class Report:
    """What a part has measured so far.

    Args:
        path: the JSON file.
        part: the part's name.
    """

    def __init__(self, path: Path, part: str) -> None:
        self.path = path
        self.table: dict[str, Any] = {
            "part": part,
            "status": "running",
            "message": "",
            "rows": [],
            "details": {},
        }
        self._write()

    def add(self, what: str, figure: float | str, unit: str = "", note: str = "") -> None:
        """A row of the table."""
        self.table["rows"].append({"what": what, "figure": figure, "unit": unit, "note": note})
        self._write()

    def replace(self, rows: list[dict[str, Any]]) -> None:
        """Other rows in place of all."""
        self.table["rows"] = rows
        self._write()

    def detail(self, name: str, value: Any) -> None:
        """A figure that is not in the table."""
        self.table["details"][name] = value
        self._write()

    def end(self, status: str, message: str = "") -> None:
        """Set the final status; a check that failed before is not forgotten."""
        if self.table["status"] == "failed":
            self.failed_check(message)
            return
        self.table |= {"status": status, "message": message or self.table["message"]}
        self._write()

    def say(self, message: str) -> None:
        """A message for a part that may still end well."""
        self.table["message"] = message
        self._write()

    def failed_check(self, message: str) -> None:
        """Report a figure outside its tolerance; the part continues."""
        joined = "; ".join(filter(None, [self.table["message"], message]))
        self.table |= {"status": "failed", "message": joined}
        self._write()

    def _write(self) -> None:
        write_json(self.path, self.table)


def shown(figure: float | str) -> str:
    """A figure for the table: three significant digits, thousands separated."""
    if isinstance(figure, str):
        return figure
    if figure == 0 or abs(figure) >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.3g}" if abs(figure) < 100 else f"{figure:.0f}"


def table(reports: list[dict[str, Any]]) -> str:
    """All parts as one Markdown table: a line for the part's state, then its rows."""
    lines = ["| part | what | figure | note |", "|---|---|---|---|"]
    for report in reports:
        state = f"{report['status']}, {report['seconds']:.0f} s of {report['limit_s']:.0f}"
        lines.append(f"| {report['part']} | **{state}** | | {_cell(report['message'])} |")
        for row in report["rows"]:
            figure = f"{shown(row['figure'])} {row['unit']}".strip()
            lines.append(f"| | {row['what']} | {figure} | {_cell(row['note'])} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:300]
