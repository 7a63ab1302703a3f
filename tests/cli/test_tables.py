"""One way to print a table: aligned, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json

import pytest

from x_instruction.cli.tables import Column, emit

ROWS = [
    {"name": "Suomi", "rows": 12_345, "score": 0.5, "tags": ["fi", "fin"], "dropped": {"short": 2}, "none": None},
    {"name": "ไทย", "rows": 7, "score": float("nan"), "tags": [], "dropped": {}, "none": None},
]
COLUMNS = [
    Column("name", "name"),
    Column("rows", "rows", ","),
    Column("score", "score", ".3f"),
    Column("tags", "tags"),
    Column("[bold]", lambda row: f"[red]{len(row['dropped'])}"),
]


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    emit(ROWS, COLUMNS)
    assert capsys.readouterr().out.splitlines() == [
        "name     rows  score  tags    [bold]",
        "Suomi  12,345  0.500  fi fin  [red]1",
        "ไทย         7      -          [red]0",
    ]


def test_lines_are_cut_to_the_terminal_and_whole_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": "word " * 60 + "end"}]
    monkeypatch.delenv("COLUMNS", raising=False)
    emit(rows, [Column("text", "text")])
    assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setenv("COLUMNS", "80")
    emit(rows, [Column("text", "text")])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith("end")
    wide = [{"a": "long name " * 8, "b": 1_234_567, "text": "word " * 20}]
    emit(wide, [Column("a", "a"), Column("b", "b", ","), Column("text", "text")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("long name " * 8 + "  1,234,567  word word")
    assert "".join(lines[2:]).split() == ["word"] * (20 - lines[1].count("word"))


def test_json_and_csv_hold_every_value(capsys: pytest.CaptureFixture[str]) -> None:
    emit(ROWS, COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == [ROWS[0], {**ROWS[1], "score": None}]
    emit(ROWS, COLUMNS, "csv")
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert first == {
        "name": "Suomi",
        "rows": "12345",
        "score": "0.5",
        "tags": "fi fin",
        "dropped": '{"short": 2}',
        "none": "",
    }
    assert (second["score"], second["tags"], second["dropped"]) == ("", "", "{}")


def test_an_empty_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    emit([], COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == []
    emit([], COLUMNS, "csv")
    assert capsys.readouterr().out == ""
