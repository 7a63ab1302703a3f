"""Corpora that are missing, damaged or invalid, and documents of valid ones."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.files import fill
from x_instruction.corpus.sources import Document, count, fingerprint, read
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.records import Dropped

SW = language("sw")
GOOD = [
    {"text": f"Maandishi {i}", "id": f"d{i}", "url": f"https://example.org/{i}", "license": "CC0"} for i in range(5)
]


def files(*paths: Path | str, **settings: Any) -> Corpus:
    return Corpus(source="files", paths=tuple(map(str, paths)), **settings)


def documents(corpus: Corpus) -> list[Document]:
    return [found for found in read(corpus, SW) if isinstance(found, Document)]


def reasons(corpus: Corpus) -> list[str]:
    return [found.reason for found in read(corpus, SW) if isinstance(found, Dropped)]


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    if name.endswith(".zst"):
        return zstandard.ZstdCompressor().compress(content)
    return content


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "no file matches .*missing.jsonl: check corpus.paths"),
        ("missing-*.jsonl", "no file matches"),
        ("folder", r"is a folder, expected files: write a pattern such as .*folder/\*.jsonl"),
        ("corpus.xlsx", "cannot tell the format of .*expected one of .jsonl, .json, .csv, .tsv, .txt, .parquet"),
        ("empty.jsonl", "no document in .*empty.jsonl.*it is empty"),
        ("blank.txt", "no document in"),
        ("nowhere://x/corpus.jsonl", "the protocol 'nowhere' is not read, expected a local path or one of abfs"),
        ("ssh://host/corpus.jsonl", "the protocol 'ssh' is not read"),
        ("simplecache::sftp://host/corpus.jsonl", "the protocol 'sftp' is not read"),
        ("reference://::http://localhost:1/spec.json", "the protocol 'reference' is not read"),
    ],
)
def test_unusable_paths_are_reported(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "corpus.xlsx").write_text("text\nx")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "blank.txt").write_text("\n \n\n")
    with pytest.raises(CorpusError, match=message):
        list(read(files(name if "://" in name else tmp_path / name), SW))


@pytest.mark.parametrize("name", ["corpus.jsonl.gz", "corpus.jsonl.zst", "corpus.parquet"])
@pytest.mark.parametrize("share", [0.5, 0.999])
def test_a_truncated_file_is_reported(tmp_path: Path, name: str, share: float) -> None:
    # Hashes do not compress, so the cut falls into the data and not into its end only.
    rows = [{"text": str(hash((i, "x"))) * 20} for i in range(3000)]
    if name.endswith("parquet"):
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), stream)
        whole = stream.getvalue()
    else:
        whole = packed(name, lines(rows))
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CorpusError, match=f"cannot read .*{name}: .*damaged or cut off"):
        list(read(files(tmp_path / name), SW))


@pytest.mark.parametrize("name", ["corpus.jsonl.gz", "corpus.jsonl.zst", "corpus.parquet"])
def test_a_file_of_another_format_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(lines(GOOD))
    with pytest.raises(CorpusError, match=r"damaged"):
        list(read(files(tmp_path / name), SW))


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.parquet"])
def test_a_missing_text_column_lists_the_existing_ones(tmp_path: Path, name: str) -> None:
    rows = [{"body": "x", "title": "y"}]
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(lines(rows))
    with pytest.raises(CorpusError, match=rf"{name}, row 1: no column 'text', there are 'body', 'title'"):
        list(read(files(tmp_path / name), SW))


def test_one_row_without_text_does_not_stop_the_rest(jsonl: Callable[..., Path]) -> None:
    corpus = files(jsonl([GOOD[0], {"id": "x"}, {"text": None}, {"text": 7}, {"text": " \n"}, GOOD[1]]))
    assert reasons(corpus) == ["no_text"] * 4
    assert len(documents(corpus)) == 2


def test_invalid_lines_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    bad = [b"\xff\xfe{}", b'{"text": "cut', b"[1, 2]", b'"text"', b'{"text": "a' + b"b" * 2000 + b'"}', b"[" * 100_000]
    path.write_bytes(b"\n".join([lines(GOOD[:1]).strip(), *bad, b"", b"  ", lines(GOOD[1:2]).strip()]))
    corpus = files(path, max_row_bytes=1000)
    expected = ["invalid_utf8", "malformed_json", "malformed_json", "malformed_json", "line_too_long", "line_too_long"]
    assert reasons(corpus) == expected
    assert [found.id for found in documents(corpus)] == ["d0", "d1"]


def test_deep_nesting_is_counted_as_malformed(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"[" * 1_000_000 + b"\n" + b'{"text": ' + b"9" * 10_000 + b"}\n" + lines(GOOD))
    assert reasons(files(path)) == ["malformed_json", "malformed_json"]


def test_a_file_of_invalid_lines_is_an_error_with_counts(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(b"{\n{\n\xff\n")
    with pytest.raises(CorpusError, match=r"no document .*malformed_json 2, invalid_utf8 1"):
        list(read(files(tmp_path / "c.jsonl"), SW))


def test_a_huge_line_is_skipped_with_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    with open(path, "wb") as stream:
        stream.write(lines(GOOD[:1]) + b'{"text": "')
        for _ in range(100):
            stream.write(b"a" * 1_000_000)
        stream.write(b'"}\n' + lines(GOOD[1:2]))
    corpus = files(path, max_row_bytes=1_000_000)
    tracemalloc.start()
    found = list(read(corpus, SW))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [getattr(f, "reason", f.id) for f in found] == ["d0", "line_too_long", "d1"]
    assert "100000013 bytes" in next(f.detail for f in found if isinstance(f, Dropped))
    assert peak < 8_000_000


def test_a_long_parquet_row_is_dropped(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a" * 2000, "b"]}), tmp_path / "c.parquet")
    assert reasons(files(tmp_path / "c.parquet", max_row_bytes=1000)) == ["line_too_long"]


def test_parquet_rows_with_invalid_utf8_or_other_types_are_dropped(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff\xfe", b"fine"]).view(pa.string())
    pq.write_table(pa.table({"text": raw}), tmp_path / "c.parquet")
    assert reasons(files(tmp_path / "c.parquet")) == ["invalid_utf8"]
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "n.parquet")
    with pytest.raises(CorpusError, match=r"no_text 2"):
        list(read(files(tmp_path / "n.parquet"), SW))


def test_an_unreadable_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.implementations.local

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "c.jsonl").write_bytes(lines(GOOD))
    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "open", refuse)
    with pytest.raises(CorpusError, match=r"cannot open .*Permission denied; check its permissions"):
        list(read(files(tmp_path / "c.jsonl"), SW))


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.jsonl.zst", "c.parquet"])
def test_formats_give_the_same_documents(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(GOOD), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(packed(name, lines(GOOD)))
    found = documents(files(tmp_path / name))
    assert [(f.id, f.text, f.url, f.license) for f in found] == [
        tuple(r[k] for k in ("id", "text", "url", "license")) for r in GOOD
    ]
    assert {f.source for f in found} == {name}


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_concatenated_compressed_files_are_read_to_the_end(tmp_path: Path, kind: str) -> None:
    name = f"c.jsonl.{kind}"
    (tmp_path / name).write_bytes(packed(name, lines(GOOD[:2])) + packed(name, lines(GOOD[2:])))
    assert len(documents(files(tmp_path / name))) == 5


def test_txt_is_divided_at_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes("\ufeffA b\nc\n\n \n\nüöä\r\nd\n".encode() + b"\n\xff\n\nlast")
    found = list(read(files(tmp_path / "c.txt", license="CC0"), SW))
    assert [(f.id, getattr(f, "text", None)) for f in found] == [
        ("c.txt:1", "A b\nc"),
        ("c.txt:6", "üöä\nd"),
        ("c.txt:9", b"\xff".decode("utf-8", "replace")),
        ("c.txt:11", "last"),
    ]
    assert isinstance(found[2], Dropped)
    assert isinstance(found[0], Document)
    assert found[0].license == "CC0"


def test_txt_without_blank_lines_is_cut_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("\n".join(f"mstari {i}" for i in range(1000)))
    found = documents(files(tmp_path / "c.txt", max_row_bytes=2000))
    assert len(found) > 3
    assert "\n".join(f.text for f in found).split("\n") == [f"mstari {i}" for i in range(1000)]


def test_absent_columns_get_defaults(jsonl: Callable[..., Path]) -> None:
    found = documents(files(jsonl([{"text": "a"}, {"text": "b", "id": 7, "url": None}]), license="CC BY 4.0"))
    assert [(f.id, f.url, f.license) for f in found] == [("corpus.jsonl:1", "", "CC BY 4.0"), ("7", "", "CC BY 4.0")]


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(b"\xef\xbb\xbf" + lines(GOOD).replace(b"\n", b"\r\n"))
    assert len(documents(files(tmp_path / "c.jsonl"))) == 5


def test_lone_surrogates_in_provenance_are_replaced(jsonl: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(rb'{"text": "a", "id": "\ud800", "url": "\udfff"}' + b"\n")
    found = documents(files(tmp_path / "c.jsonl"))[0]
    assert (found.id, found.url) == ("\ufffd", "\ufffd")


def test_documents_limits_the_rows(jsonl: Callable[..., Path]) -> None:
    assert len(documents(files(jsonl(GOOD), documents=3))) == 3


def test_globs_and_placeholders_are_expanded(tmp_path: Path) -> None:
    for code in ("swh_Latn", "fin_Latn"):
        (tmp_path / code).mkdir()
        for part in ("b", "a"):
            (tmp_path / code / f"{part}.jsonl").write_bytes(lines([{"text": f"{code} {part}"}]))
    found = documents(files(tmp_path / "{code}" / "*.jsonl"))
    assert [f.text for f in found] == ["swh_Latn a", "swh_Latn b"]
    assert fill("{tag}/{code}/{iso639_3}/{name}", SW) == "sw/swh_Latn/swh/Swahili"
    with pytest.raises(RecipeError, match=r"unknown placeholder \{lang\}.*\{tag\}"):
        fill("{lang}.jsonl", SW)


def test_a_file_named_twice_is_read_once(jsonl: Callable[..., Path]) -> None:
    path = jsonl(GOOD)
    assert len(documents(files(path, path.parent / "*.jsonl"))) == 5


def test_remote_files_are_read_and_identified(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    with memory.open("/corpus/sw.jsonl", "wb") as stream:
        stream.write(lines(GOOD))
    corpus = files("memory://corpus/{tag}.jsonl")
    assert len(documents(corpus)) == 5
    first = fingerprint(corpus, SW)
    assert list(first) == ["/corpus/sw.jsonl"]


def test_a_fingerprint_changes_with_the_bytes(jsonl: Callable[..., Path]) -> None:
    path = jsonl(GOOD)
    before = fingerprint(files(path), SW)
    assert fingerprint(files(path), SW) == before
    path.write_bytes(path.read_bytes() + b" ")
    after = fingerprint(files(path), SW)
    assert list(after) == list(before) == [str(path)]
    assert after != before


def test_the_sample_is_read_and_identified() -> None:
    corpus = Corpus(source="sample")
    found = documents(corpus)
    assert len(found) == count(corpus, SW) == 12
    assert found[0].license == "Apache-2.0"
    assert "synthetic" in found[0].source
    assert list(fingerprint(corpus, SW)) == ["sw.jsonl"]
    with pytest.raises(CorpusError, match=r"the sample has no Yoruba .*only bn, fi"):
        list(read(corpus, language("yo")))


def test_count_is_reported_only_where_it_is_known(jsonl: Callable[..., Path], tmp_path: Path) -> None:
    assert count(files(jsonl(GOOD)), SW) is None
    pq.write_table(pa.Table.from_pylist(GOOD), tmp_path / "c.parquet")
    assert count(files(tmp_path / "c.parquet"), SW) == 5
    assert count(files(tmp_path / "c.parquet", documents=2), SW) == 2
