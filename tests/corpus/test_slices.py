"""A corpus that is screened slice by slice gives what one process gives, record for record."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.corpus.screen import Screen
from x_instruction.corpus.shard_sizes import shard_count, shard_size
from x_instruction.corpus.slices import MadeSlice, slice_records
from x_instruction.corpus.sources import BEGINNING, Start, Tally, read, read_from, starts
from x_instruction.corpus.stage import passages
from x_instruction.errors import CorpusError
from x_instruction.languages import language
from x_instruction.records import Dropped, Passage, Screened

SWAHILI = language("sw")


@pytest.fixture(scope="session")
def rows(sample_texts: Callable[[str], list[str]]) -> list[dict[str, Any]]:
    """Rows with exact and near duplicates far apart, rows without text, and others that filters drop."""
    good = sample_texts("sw")
    found: list[dict[str, Any]] = []
    for number in range(5 * len(good)):
        text = good[number % len(good)]
        changed = [text, text + " Mwisho wa habari.", text, text.replace("a", "e"), f"{text}\n\n{good[number % 7]}"]
        found.append({"id": f"d{number}", "text": changed[number // len(good)]})
        if number % 4 == 0:
            found.append({"id": f"short{number}", "text": "Fupi."})
        if number % 6 == 0:
            found.append({"text": None})
    return found


def as_jsonl(rows: list[dict[str, Any]], damaged: bool = False) -> bytes:
    lines = [json.dumps(row) for row in rows]
    if damaged:
        lines[3] = lines[3][:10]
        lines[20:20] = ["", '["no object"]']
    return "".join(f"{line}\n" for line in lines).encode()


def write_files(folder: Path, rows: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The rows in several formats: name of the case to the patterns of its files."""
    third = len(rows) // 3
    (folder / "whole.jsonl").write_bytes(as_jsonl(rows))
    (folder / "damaged.jsonl").write_bytes(as_jsonl(rows, damaged=True))
    (folder / "gz.jsonl.gz").write_bytes(gzip.compress(as_jsonl(rows)))
    (folder / "zst.jsonl.zst").write_bytes(zstandard.compress(as_jsonl(rows)))
    (folder / "list.json").write_text(json.dumps(rows))
    (folder / "plain.txt").write_text("\n\n".join(row["text"] or "-" for row in rows))
    (folder / "table.csv").write_text(
        "id,text\n"
        + "".join(f'{n},"{(row["text"] or "").replace(chr(34), chr(34) * 2)}"\n' for n, row in enumerate(rows))
    )
    for number in range(3):
        part = rows[number * third : (number + 1) * third if number < 2 else None]
        (folder / f"part-{number}.jsonl").write_bytes(as_jsonl(part))
    (folder / "part-1.jsonl").with_name("empty.jsonl").write_bytes(b"")
    table = pa.Table.from_pylist([{"id": row.get("id"), "text": row["text"]} for row in rows])
    pq.write_table(table, folder / "groups.parquet", row_group_size=11)
    names = ("whole.jsonl", "damaged.jsonl", "gz.jsonl.gz", "zst.jsonl.zst", "list.json", "plain.txt", "table.csv")
    cases = {name: (str(folder / name),) for name in (*names, "groups.parquet")}
    cases["several"] = tuple(str(folder / name) for name in ("part-*.jsonl", "empty.jsonl", "groups.parquet"))
    return cases


@pytest.fixture(scope="session")
def files(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    return write_files(tmp_path_factory.mktemp("corpus"), rows)


CASES = ("whole.jsonl", "damaged.jsonl", "gz.jsonl.gz", "zst.jsonl.zst", "list.json", "plain.txt", "table.csv")
CASES = (*CASES, "groups.parquet", "several")


@cache
def screen(corpus: Corpus) -> Screen:
    return Screen(corpus, SWAHILI)


def made(corpus: Corpus) -> Iterator[MadeSlice]:
    """Every slice of the corpus, screened by itself."""
    for start in starts(corpus, SWAHILI):
        tally = Tally()
        records = list(slice_records(corpus, SWAHILI, screen(corpus), start, tally, lambda rows: None))
        kept = [record for record in records if isinstance(record, Screened)]
        lost = [record for record in records if isinstance(record, Dropped)]
        yield MadeSlice(tally.documents, dict(tally.errors), lambda kept=kept: kept, lambda lost=lost: lost)  # type: ignore[misc]


def plain(records: Iterator[Passage | Dropped]) -> list[Passage | Dropped]:
    fields = Passage.__dataclass_fields__
    return [r if isinstance(r, Dropped) else Passage(**{name: getattr(r, name) for name in fields}) for r in records]


def compare(corpus: Corpus, folder: Path) -> list[Passage | Dropped]:
    """Compare the result from all slices, and from the first of them, with that of one process."""
    whole = plain(passages(corpus, SWAHILI, folder))
    slices, begins = list(made(corpus)), list(starts(corpus, SWAHILI))
    assert len(slices) > 1
    assert plain(passages(corpus, SWAHILI, folder, made=slices, rest=None)) == whole
    assert plain(passages(corpus, SWAHILI, folder, made=slices[:1], rest=begins[1])) == whole
    return whole


@pytest.mark.parametrize("case", CASES)
def test_slices_give_the_same_records_as_one_process(
    case: str, files: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    corpus = Corpus(source="files", paths=files[case], slice_rows=23)
    reasons = {r.reason for r in compare(corpus, tmp_path) if isinstance(r, Dropped)}
    assert {"near_duplicate", "exact_duplicate", "too_short"} <= reasons


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("settings", [{"passages": n} for n in (1, 5, 13, 100)] + [{"documents": n} for n in (24, 46)])
def test_a_limit_ends_at_the_same_record(
    settings: dict[str, int], near: bool, files: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    filters = Filters(near_duplicates=near)
    corpus = Corpus(source="files", paths=files["damaged.jsonl"], slice_rows=17, filters=filters, **settings)
    found = compare(corpus, tmp_path)
    assert sum(isinstance(record, Passage) for record in found) <= settings.get("passages", 100)


def test_a_limit_holds_over_slices_without_passages(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Slices in which everything is dropped, and batches that end with dropped rows."""
    short = [{"id": f"s{n}", "text": "Fupi."} for n in range(40)]
    (tmp_path / "c.jsonl").write_bytes(as_jsonl(short + rows[:6] + short + rows[6:16] + short))
    for limit in (1, 5, 6, 7):
        corpus = Corpus(source="files", paths=(str(tmp_path / "c.jsonl"),), slice_rows=10, passages=limit)
        compare(corpus, tmp_path / "scratch")


def test_a_corpus_without_documents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": ""}\nnot json\n' * 5)
    corpus = Corpus(source="files", paths=(str(tmp_path / "c.jsonl"),), slice_rows=4)
    slices = list(made(corpus))
    with pytest.raises(CorpusError, match=r"no document in .*\(no_text 5, malformed_json 5\)"):
        list(passages(corpus, SWAHILI, tmp_path, made=slices, rest=None))
    (tmp_path / "c.jsonl").write_text("")
    assert list(starts(corpus, SWAHILI)) == []


def test_repeated_lines_are_remembered_within_a_slice(sample_texts: Callable[[str], list[str]], tmp_path: Path) -> None:
    footer = "Wavuvi wa pwani ya mashariki walituma habari hizi kwetu jana."
    pages = [{"text": f"{text}\n{footer}"} for text in sample_texts("sw")]
    (tmp_path / "c.jsonl").write_bytes(as_jsonl(pages))
    corpus = Corpus(source="files", paths=(str(tmp_path / "c.jsonl"),), slice_rows=8)
    found = plain(passages(corpus, SWAHILI, tmp_path / "scratch"))
    # The second slice has four documents, and a line must be in five.
    assert [footer in record.text for record in found] == [False] * 8 + [True] * 4, found


@pytest.mark.parametrize("case", CASES)
def test_reading_from_a_row_skips_the_rows_before(case: str, files: dict[str, tuple[str, ...]]) -> None:
    corpus = Corpus(source="files", paths=files[case], slice_rows=7)
    whole = list(read(corpus, SWAHILI))
    begins = list(starts(corpus, SWAHILI))
    assert begins[0] == BEGINNING
    assert [start.before for start in begins] == list(range(0, len(whole), 7))
    for start in begins:
        assert list(read_from(corpus, SWAHILI, start)) == whole[start.before :]


def test_rows_are_counted_no_further_than_needed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 30)
    (tmp_path / "b.parquet").write_bytes(b"damaged")
    corpus = Corpus(source="files", paths=(str(tmp_path / "a.jsonl"), str(tmp_path / "b.parquet")), slice_rows=10)
    counted = starts(corpus, SWAHILI)
    assert [next(counted) for _ in range(3)] == [Start(0, 0, 0), Start(0, 10, 10), Start(0, 20, 20)]
    assert len(list(starts(corpus.replace(documents=30), SWAHILI))) == 3
    with pytest.raises(CorpusError, match=r"b.parquet"):
        next(counted)


def test_shards_grow_with_the_corpus(tmp_path: Path) -> None:
    corpus = Corpus(source="sample")
    assert [shard_size(corpus, index) for index in (0, 49, 50, 99, 100, 5_000)] == [
        2_000, 2_000, 20_000, 20_000, 100_000, 100_000,
    ]  # fmt: skip
    assert shard_size(corpus.replace(shard_size=5), 100) == 5
    for settings in (corpus, corpus.replace(shard_size=5_000)):
        ends = [sum(shard_size(settings, index) for index in range(shards)) for shards in range(1, 103)]
        assert [shard_count(settings, end) for end in ends] == list(range(1, 103))
        assert [shard_count(settings, end + 1) for end in ends] == list(range(2, 104))
    assert (shard_count(corpus, 0), shard_count(corpus, 10**9)) == (1, 10_089)
