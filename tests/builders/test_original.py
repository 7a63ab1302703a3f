"""Files in the layout of the original release: read row by row, and damage is reported with its position."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from x_instruction.builders import original
from x_instruction.builders.original import Original, rows
from x_instruction.builders.reading import load
from x_instruction.builders.schema import features
from x_instruction.builders.x_instruction import XInstruction
from x_instruction.corpus import json_list
from x_instruction.errors import RecipeError, ShardError

GOOD = '{"instruction": "Why?", "input": "", "output": "Kwa sababu."}'


def write(folder: Path, text: str | bytes, name: str = "sw.json") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"line 1, column 1: expected a list of objects, got the end of the file"),
        (GOOD, r"line 1, column 1: expected a list of objects, got '\{'"),
        ("[", r"line 1, column 2: row 1 is missing"),
        (f"[{GOOD}", r"line 1, column 63: expected a comma or the end of the list, got the end of the file"),
        (f"[{GOOD},]", r"line 1, column 64: row 2 is missing"),
        (f"[{GOOD}\n {GOOD}]", r"line 2, column 2: expected a comma or the end of the list, got '\{'"),
        (
            f"[\n{GOOD},\n  {{'instruction': 1}}]",
            r"line 3, column 3: row 1 cannot be read \(malformed_json: Expecting property name .*: line 3 column 4\)",
        ),
        (f'[\n{GOOD},\n{{"instruction": "cut off', r"line 3, column 17: Unterminated string"),
        (f"[{GOOD}] more", r"line 1, column 65: there is text after the list"),
        ("[1]", r"line 1, column 2: row 0 cannot be read \(malformed_json: expected an object, got a number\)"),
        (f'[{GOOD}, {{"output": "x"}}]', r"line 1, column 65: row 1 has no 'instruction'.*keys are 'output'"),
        ('[{"instruction": "x", "output": 7}]', r"column 2: row 0 'output' is int, expected text"),
        ('[{"instruction": null, "output": ""}]', r"row 0 'instruction' is NoneType, expected text"),
        ('[{"instruction": "x", "output": "ab\\ud800"}]', r"row 0 'output' has half a surrogate pair at character 3"),
        (b"[\xff]", r"row 0 cannot be read \(invalid_utf8: byte 0\)"),
        ('[{"a":' + "[" * 100_000, r"nested too deep"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_damage_is_reported_with_its_position(tmp_path, text, expected, streaming, monkeypatch):
    # Small reads: positions are right across many of them.
    monkeypatch.setattr(json_list, "CHUNK", 7 if len(text) < 1000 else 1 << 20)
    write(tmp_path / "original", text)
    with pytest.raises(ShardError, match=expected) as error:
        list(load("sw", tmp_path / "original", split="train", streaming=streaming))
    assert str(tmp_path / "original" / "sw.json") in str(error.value)


def test_an_unclosed_row_is_not_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_list, "CHUNK", 10)
    monkeypatch.setattr(original, "MAX_OBJECT_BYTES", 100)
    path = write(tmp_path, '[{"instruction": "' + "x" * 10_000)
    with pytest.raises(ShardError, match="line 1, column 2: this row of 10017 characters has no end"):
        list(rows(path, "sw"))
    write(tmp_path, '[{"instruction": "' + "x" * 10_000 + '"}]')
    with pytest.raises(ShardError, match=r"line 1, column 2: row 0 cannot be read \(line_too_long"):
        list(rows(path, "sw"))


def test_other_folders_are_refused(tmp_path):
    write(tmp_path / "a", "{}", "config.json")
    with pytest.raises(RecipeError, match=r"has JSON files such as config.json: expected files named by a language"):
        load("sw", tmp_path / "a")
    write(tmp_path / "b", "[]", "sw.json")
    write(tmp_path / "b", "[]", "swh_Latn.json")
    with pytest.raises(RecipeError, match="are both in 'sw'"):
        load("sw", tmp_path / "b")
    write(tmp_path / "c", f"[{GOOD}]", "sw.json")
    with pytest.raises(RecipeError, match="has no document ids to split by"):
        load("sw", tmp_path / "c", test=0.1)
    with pytest.raises(RecipeError, match=r"has no file fi\.json for 'Finnish', only sw"):
        load("Finnish", tmp_path / "c")


def test_a_list_without_rows_is_reported(tmp_path):
    write(tmp_path / "original", " [ ] \n")
    assert list(load("sw", tmp_path / "original", split="train", streaming=True)) == []
    with pytest.raises(RecipeError, match="has no rows in 'sw'"):
        load("sw", tmp_path / "original", split="train")


def test_files_are_named_by_language(tmp_path):
    for name in ("sw.json", "zho_Hant.json", "no.json", "config.json", "train.json", "en_scored.json", "all.json"):
        write(tmp_path / "original", f"[{GOOD}]", name)
    found = Original.at(tmp_path / "original")
    assert found is not None
    assert found.languages() == ["no", "sw", "zh-Hant"]
    assert [row["language"] for row in load("all", tmp_path / "original", split="train")] == ["no", "sw", "zh-Hant"]


def test_unknown_values_are_null(tmp_path):
    write(tmp_path / "original", '[{"output": "Jibu", "more": [1], "instruction": "Sum up", "input": "this"}]')
    for streaming in (False, True):
        data = load("swh_Latn", tmp_path / "original", split="train", streaming=streaming)
        assert data.features == features()
        (row,) = data
        known = {name: value for name, value in row.items() if value is not None}
        assert known == {
            "id": f"sw-{row['text_hash'][:16]}-0",
            "instruction": "Sum up\nthis",
            "output": "Jibu",
            "language": "sw",
            "language_code": "swh_Latn",
            "text_hash": hashlib.sha256(b"Jibu").hexdigest(),
        }


def test_repeated_responses_have_unique_ids(tmp_path):
    write(tmp_path / "original", f"\ufeff[{GOOD},\r\n{GOOD}]")
    assert len(set(load("sw", tmp_path / "original", split="train")["id"])) == 2


def test_the_builder_reads_the_layout_and_reloads_changed_files(tmp_path):
    write(tmp_path / "original", f"[{GOOD}]")
    builder = XInstruction(source=tmp_path / "original")
    builder.download_and_prepare()
    assert builder.as_dataset("train")["instruction"] == ["Why?"]
    write(tmp_path / "original", f"[{GOOD.replace('Why', 'How')}]")
    assert load("sw", tmp_path / "original", split="train")["instruction"] == ["How?"]
