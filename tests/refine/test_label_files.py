"""Files of labelled pairs: every shape that is none, and there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from x_instruction.errors import CorpusError, RecipeError
from x_instruction.refine.label_files import read, write
from x_instruction.refine.labels import Example

ROW: dict[str, object] = {
    "id": "a",
    "language": "fi",
    "instruction_language": "en",
    "instruction": "Why?",
    "text": "Sauna on lämmin.",
    "level": "best",
}
EXAMPLE = Example(
    id="d/fi/pair",
    document="d",
    language="fi",
    instruction_language="en",
    instruction="Why\n?",
    text="Sauna\u2028on.",
    level="flawed",
    strategy="pair",
)


def file(folder: Path, *rows: object, name: str = "labels.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no labelled pairs"),
        (["not json\n"], "row 1: malformed_json"),
        ([ROW, "[]\n"], "row 2: malformed_json"),
        (
            [{"prompt": "a", "completion": "b"}],
            "row 1: 'id' is missing, expected id, language, .* got 'prompt', 'completion'",
        ),
        ([{}], "got none"),
        *(([ROW, {**ROW, name: None}], f"row 2: '{name}' is missing") for name in ROW),
        *(([{**ROW, name: 7}], f"row 1: {name} is a int, expected text") for name in ROW if name != "id"),
        ([{**ROW, "level": "good"}], "row 1: level is 'good', expected one of best, flawed, worst"),
        ([{**ROW, "level": ""}], "row 1: level is ''"),
        ([{**ROW, "text": " \n"}], "row 1: instruction or text is empty"),
        ([{**ROW, "instruction": ""}], "row 1: instruction or text is empty"),
        ([{**ROW, "language": "zzzz"}], "row 1: .*zzzz"),
        ([{**ROW, "instruction_language": "Finish"}], "row 1: .*Finish"),
    ],
)
def test_other_shapes(tmp_path: Path, rows: list[object], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read(file(tmp_path, *rows))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, match="plain text"):
        read(file(tmp_path, name="labels.txt"))


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot write .*labels.csv: expected a name that ends in .jsonl"):
        write([EXAMPLE], tmp_path / "labels.csv")


def test_there_and_back(tmp_path: Path) -> None:
    write([EXAMPLE, EXAMPLE], tmp_path / "labels.jsonl")
    assert read(tmp_path / "labels.jsonl") == [EXAMPLE, EXAMPLE]


def test_what_others_leave_out(tmp_path: Path) -> None:
    (found,) = read(file(tmp_path, {**ROW, "id": 7, "language": "fin_Latn"}))
    assert (found.id, found.document, found.strategy, found.language) == ("7", "7", "", "fi")
