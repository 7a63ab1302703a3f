"""Licences, ids and addresses of rows in the forms that data sets have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import real_texts

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.cells import LicenseError, license_of, text_of
from x_instruction.corpus.sources import Document, read
from x_instruction.errors import CorpusError
from x_instruction.languages import language
from x_instruction.seed.pairs import read_pairs


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (float("nan"), ""),
        ("", ""),
        (" mit ", "mit"),
        ('CC BY-SA 3.0 | "quoted"', 'CC BY-SA 3.0 | "quoted"'),
        ([], ""),
        (["mit"], "mit"),
        (["cc-by-4.0", "apache-2.0"], "cc-by-4.0 AND apache-2.0"),
        (["mit", None, "", "mit", {"id": "gpl-3.0+"}], "mit AND gpl-3.0+"),
        (["MIT OR Apache-2.0", "CC-BY-4.0"], "(MIT OR Apache-2.0) AND CC-BY-4.0"),
        (["GPL-2.0 WITH Classpath-exception-2.0", "MIT"], "GPL-2.0 WITH Classpath-exception-2.0 AND MIT"),
        # Names with spaces are not part of an expression.
        (["CC BY 4.0", "apache-2.0"], "CC BY 4.0; apache-2.0"),
        ({"id": "mit"}, "mit"),
        ({"name": "MIT License", "id": "mit"}, "mit"),
        ({"id": None, "name": "MIT License"}, "MIT License"),
        ({"url": "https://creativecommons.org/licenses/by/4.0"}, "https://creativecommons.org/licenses/by/4.0"),
    ],
)
def test_licenses_are_normalised(value: Any, expected: str) -> None:
    assert license_of(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"free": True}, "the license is an object with 'free', expected a name"),
        ({}, "an object with no keys"),
        (7, "the license is 7, expected a name"),
        (True, "the license is true, expected a name"),
        (["mit", {"id": 3}], "an object with 'id'"),
    ],
)
def test_a_value_without_a_license_name_is_refused(value: Any, message: str) -> None:
    with pytest.raises(LicenseError, match=message):
        license_of(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, ""), (7, "7"), (True, "true"), (["a", "é"], '["a", "é"]'), ({"a": None}, '{"a": null}'), ("\0x", "x")],
)
def test_other_cells_are_written_as_json(value: Any, expected: str) -> None:
    assert text_of(value) == expected


def test_a_row_without_a_readable_license_is_dropped(tmp_path: Path) -> None:
    rows = [{"text": "x", "id": 1, "license": {"free": 1}}, {"text": "y", "id": ["b"], "license": [{"id": "mit"}]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lost, kept = read(Corpus(source="files", paths=(f"{tmp_path}/a.jsonl",)), language("sw"))
    assert not isinstance(lost, Document)
    assert (lost.id, lost.reason) == ("1", "unclear_license")
    assert isinstance(kept, Document)
    assert (kept.id, kept.license) == ('["b"]', "mit")


@pytest.mark.parametrize("name", ["text", "id", "license"])
def test_duplicate_parquet_columns_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.parquet"
    columns = [*dict.fromkeys(["text", "id", name]), name]
    pq.write_table(pa.Table.from_arrays([pa.array(["x"])] * len(columns), names=columns), path)
    with pytest.raises(CorpusError, match=rf"a\.parquet: two columns are called '{name}'; rename one of them"):
        list(read(Corpus(source="files", paths=(str(path),)), language("sw")))


def test_duplicate_parquet_columns_are_refused_in_seeds(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["x"])] * 3, names=["instruction", "output", "output"]), path)
    with pytest.raises(CorpusError, match=r"a\.parquet: two columns are called 'output'; rename one of them"):
        list(read_pairs(path, 1_000))


@real_texts.needs_real_texts
def test_licenses_of_every_type_are_read_in_a_run() -> None:
    """Case 19: a list, an object, null, and a name with signs of Markdown. The card is tested in builders/."""
    path = real_texts.DATA.parent / "cases" / "19-license-forms" / "sw.jsonl"
    found = list(read(Corpus(source="files", paths=(str(path),)), language("sw")))
    assert [row.license for row in found if isinstance(row, Document)] == [
        "cc-by-sa-4.0",
        "cc-by-4.0 AND apache-2.0",
        "mit",
        "unknown",
        'CC BY-SA 3.0 | "quoted"',
    ]
