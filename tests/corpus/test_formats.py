"""The same documents in every format and encoding, and files whose content does not match their name."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.corpus.sources import Document, fingerprint, read
from x_instruction.corpus.stage import passages
from x_instruction.errors import CorpusError
from x_instruction.languages import language
from x_instruction.records import Dropped, Passage

SW = language("sw")
ROWS = [
    {"text": "Mstari wa kwanza\nna wa pili", "id": "a", "url": "https://example.org/a", "license": "CC0"},
    {"text": 'Alisema "ndiyo", akaenda\u2028zake\x85leo', "id": "b", "url": "", "license": "MIT"},
    {"text": "ภาษาไทย 👩‍👩‍👧", "id": "c", "url": "https://example.org/c", "license": "CC0"},
]


def corpus(path: Path | str, **settings: Any) -> Corpus:
    return Corpus(source="files", paths=(str(path),), **settings)


def results(path: Path | str, **settings: Any) -> list[Any]:
    """Texts, and reasons of what is dropped, in the order of the file."""
    return [
        record.text if isinstance(record, Document) else (record.reason, record.detail)
        for record in read(corpus(path, **settings), SW)
    ]


def encoded(format: str, rows: list[dict[str, str]] = ROWS) -> str:
    if format == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if format == ".json":
        return json.dumps(rows, ensure_ascii=False, indent=1)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), delimiter="," if format == ".csv" else "\t")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-sig", "utf-32"]


def encode(text: str, encoding: str) -> bytes:
    if encoding == "utf-16-be-sig":
        return ("\ufeff" + text).encode("utf-16-be")
    return text.encode(encoding)


@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("format", [".jsonl", ".json", ".csv", ".tsv"])
def test_every_format_gives_the_same_documents(tmp_path: Path, format: str, encoding: str, compression: str) -> None:
    raw = encode(encoded(format), encoding)
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[compression]
    path = tmp_path / f"corpus{format}{compression}"
    path.write_bytes(pack(raw))
    found = [record for record in read(corpus(path), SW) if isinstance(record, Document)]
    assert [{"text": d.text, "id": d.id, "url": d.url} for d in found] == [
        {key: row[key] for key in ("text", "id", "url")} for row in ROWS
    ]
    assert [d.license for d in found] == ["CC0", "MIT", "CC0"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_plain_text_is_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "c.txt").write_bytes(encode("moja\r\nmbili\r\n\r\ntatu\r\n", encoding))
    assert results(tmp_path / "c.txt") == ["moja\nmbili", "tatu"]


def test_text_column_names_a_column_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('id,"body, whole"\n1,Habari\n2,\n')
    assert results(tmp_path / "c.csv", text_column="body, whole") == ["Habari", ("no_text", "empty")]
    with pytest.raises(CorpusError, match=r"c.csv, row 2: no column 'text', there are 'id', 'body, whole'; set corpus"):
        results(tmp_path / "c.csv")


@pytest.mark.parametrize("format", [".jsonl", ".json", ".csv"])
def test_half_a_surrogate_pair_in_utf_16_drops_its_row(tmp_path: Path, format: str) -> None:
    rows = [{"text": "moja", "id": "1"}, {"text": "x\ud83dy", "id": "2"}, {"text": "mbili", "id": "3"}]
    (tmp_path / f"c{format}").write_bytes(encoded(format, rows).encode("utf-16", "surrogatepass"))
    found = results(tmp_path / f"c{format}")
    assert [found[0], found[1][0], found[2]] == ["moja", "invalid_utf8", "mbili"]


def test_truncated_utf_16_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(encoded(".jsonl").encode("utf-16")[:-1])
    with pytest.raises(CorpusError, match=r"cannot read .*c.jsonl: it is not utf-16-le: truncated data; .*cut off"):
        results(tmp_path / "c.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "data.jsonl",
            encoded(".json"),
            "data.jsonl is one JSON list: name it data.json, or write one object per",
        ),
        ("data.jsonl", json.dumps(ROWS), "name it data.json, or"),
        ("data.JSONL", "\ufeff\n [\n" + json.dumps(ROWS[0]) + ",\n" + json.dumps(ROWS[1]) + "\n]", "it data.json, or"),
        ("data.jsonl.gz", encoded(".json"), "data.jsonl.gz is one JSON list: name it data.json.gz, or write"),
        ("data.jsonl", json.dumps(ROWS * 40), "name it data.json, or"),
        ("data.jsonl", json.dumps({"rows": ROWS}, indent=1), "data.jsonl is one JSON object over several lines: write"),
        ("data.json", json.dumps({"rows": ROWS}, indent=1), "data.json is one JSON object over several lines: write"),
        ("data.json", '[{"text": "a"}', "data.json, line 1, column 15: expected a comma or the end of the list"),
    ],
)
def test_json_of_another_shape_is_reported(tmp_path: Path, name: str, content: str, message: str) -> None:
    raw = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    with pytest.raises(CorpusError, match=message):
        results(tmp_path / name, max_row_bytes=4_000)


def test_a_list_in_the_first_line_alone_is_a_malformed_row(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('[{"role": "user"}]\n{"text": "Habari"}\n')
    assert results(tmp_path / "c.jsonl") == [("malformed_json", "expected an object, got a list"), "Habari"]


@pytest.mark.parametrize("pattern", ["/dev/zero", "{folder}/pipe.jsonl", "{folder}/*.jsonl"])
def test_special_files_are_refused_before_they_are_read(tmp_path: Path, pattern: str) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    path = pattern.replace("{folder}", str(tmp_path))
    for reading in (lambda: fingerprint(corpus(path), SW), lambda: list(read(corpus(path), SW))):
        with pytest.raises(CorpusError, match=r"(zero|pipe.jsonl) is not a regular file"):
            reading()


def kept(path: Path | str, **settings: Any) -> list[Passage]:
    filters = Filters(
        min_chars=1, language_check=False, near_duplicates=False, max_short_lines=1.0, max_broken=1.0, max_symbols=1.0,
        max_social_marks=1.0, whole_sentences=False,
    )  # fmt: skip
    records = passages(corpus(path, filters=filters, **settings), SW, Path(str(path)).parent)
    return [record for record in records if not isinstance(record, Dropped)]


def test_columns_may_change_their_type_between_files(tmp_path: Path) -> None:
    """A column may be null in one file and a list in the next: the text is read from both."""
    (tmp_path / "1.jsonl").write_text('{"text": "moja", "tags": null}\n{"text": null}\n{"text": {"a": 1}}\n')
    (tmp_path / "2.jsonl").write_text('{"text": "mbili", "tags": ["a"]}\n{"text": 3}\n{"tags": "x"}\n')
    assert results(tmp_path / "*.jsonl") == [
        "moja",
        ("no_text", "expected a string, got NoneType"),
        ("no_text", "expected a string, got dict"),
        "mbili",
        ("no_text", "expected a string, got int"),
        ("no_text", "expected a string, got NoneType"),
    ]


def test_gzip_files_with_one_member_per_row_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl.gz").write_bytes(
        b"".join(gzip.compress(line.encode() + b"\n") for line in encoded(".jsonl").split("\n")[:3])
    )
    assert results(tmp_path / "c.jsonl.gz") == [row["text"] for row in ROWS]


def test_surrogates_and_nul_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(
        r'{"text": "Habari \ud83d dunia"}' + "\n" + r'{"text": "Habari \u0000za leo"}' + "\n"
        r'{"text": "Familia \ud83d\udc69\u200d\ud83d\udc67 nzuri"}' + "\n"
    )
    assert [p.text for p in kept(tmp_path / "c.jsonl")] == [
        "Habari \ufffd dunia",
        "Habari za leo",
        "Familia \U0001f469\u200d\U0001f467 nzuri",
    ]


def test_rows_with_the_same_id_give_passages_with_unique_ids(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(
        '{"id": 1, "text": "moja"}\n{"id": 1, "text": "mbili"}\n{"id": "1", "text": "tatu"}\n'
    )
    found = kept(tmp_path / "c.jsonl")
    assert [p.document_id for p in found] == ["1", "1", "1"]
    assert len({p.id for p in found}) == 3


def test_a_compressed_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet.gz")
    with pytest.raises(CorpusError, match=r"cannot tell the format of .*all but .parquet also with .gz or .zst"):
        results(tmp_path / "c.parquet.gz")
