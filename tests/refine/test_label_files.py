"""Files of labelled pairs: invalid shapes, and round trips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from x_instruction.errors import CorpusError, RecipeError
from x_instruction.refine.label_files import JUDGED, OPTIONAL, read, write
from x_instruction.refine.labels import Example

ROW: dict[str, object] = {
    "id": "a",
    "language": "fi",
    "instruction_language": "en",
    "instruction": "Why?",
    "text": "Sauna on lämmin.",
    "level": "best",
}


def judged(**worth: object) -> dict[str, object]:
    """A row as people write it."""
    return {"instruction": "Why?", "response": "Sauna on lämmin.", "language": "Finnish"} | worth


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
            "row 1: 'instruction' is missing, expected instruction, text or output .* got 'prompt', 'completion'",
        ),
        ([{}], "got none"),
        *(([ROW, {**ROW, name: None}], f"row 2: '{name}' is missing") for name in ROW if name not in OPTIONAL),
        *(([{**ROW, name: 7}], f"row 1: {name} is a int, expected text") for name in ROW if name != "id"),
        ([{**ROW, "level": "fine"}], "row 1: level is 'fine', expected one of best, flawed, worst, good, bad"),
        ([judged(label="fine")], "row 1: label is 'fine', expected one of best"),
        ([judged(label=3)], "row 1: label is a int, expected text"),
        ([judged()], "row 1: 'level' is missing, expected .* and level or label or score"),
        *(([judged(score=bad)], "row 1: score is .*, expected a number from 1") for bad in (0, 6, "x", True, [1])),
        # A published row: its score is no judgement.
        ([judged(score=4.5, rater="prompted:org/model")], "row 1: score is that of the rater 'prompted:org/model'"),
        ([{**ROW, "level": ""}], "row 1: level is ''"),
        ([{**ROW, "text": " \n"}], "row 1: instruction or text is empty"),
        ([{**ROW, "instruction": ""}], "row 1: instruction or text is empty"),
        ([{**ROW, "language": "zzzz"}], "row 1: .*zzzz"),
        ([{**ROW, "instruction_language": "Finish"}], "row 1: .*Finish"),
    ],
)
def test_other_shapes_are_refused(tmp_path: Path, rows: list[object], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read(file(tmp_path, *rows))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, match="plain text"):
        read(file(tmp_path, name="labels.txt"))


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot write .*labels.csv: expected a name that ends in .jsonl"):
        write([EXAMPLE], tmp_path / "labels.csv")


def test_labels_round_trip(tmp_path: Path) -> None:
    write([EXAMPLE, EXAMPLE], tmp_path / "labels.jsonl")
    assert read(tmp_path / "labels.jsonl") == [EXAMPLE, EXAMPLE]


def test_missing_fields_get_defaults(tmp_path: Path) -> None:
    (found,) = read(file(tmp_path, {**ROW, "id": 7, "language": "fin_Latn"}))
    assert (found.id, found.document, found.strategy, found.language) == ("7", "7", JUDGED, "fi")


@pytest.mark.parametrize(
    ("worth", "level"),
    [
        ({"label": "good"}, "best"),
        ({"label": "flawed"}, "flawed"),
        ({"label": "bad"}, "worst"),
        ({"level": "worst", "label": "good"}, "worst"),
        ({"score": 5}, "best"),
        ({"score": 4}, "best"),
        ({"score": 3.5}, "best"),
        ({"score": 3}, "flawed"),
        ({"score": "2"}, "flawed"),
        ({"score": 1.4}, "worst"),
        ({"score": 1}, "worst"),
        # A label beside the score of a rater.
        ({"label": "bad", "score": 4.5, "rater": "prompted:org/model"}, "worst"),
    ],
)
def test_human_judgements_are_read(tmp_path: Path, worth: dict[str, object], level: str) -> None:
    (found,) = read(file(tmp_path, judged(**worth)))
    assert (found.level, found.strategy, found.language, found.instruction_language) == (level, JUDGED, "fi", "en")
    assert (found.id, found.document, found.text) == ("labels.jsonl:1", "labels.jsonl:1", "Sauna on lämmin.")


def test_judgements_are_read_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction,output,language,score,document_id\nWhy?,Jibu,sw,2,d7\n")
    (found,) = read(tmp_path / "a.csv")
    assert (found.level, found.document, found.language, found.text) == ("flawed", "d7", "sw", "Jibu")
