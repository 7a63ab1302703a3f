"""CSV and TSV: damaged records are skipped alone, others are read as by ``csv``."""

from __future__ import annotations

import csv
import io
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.corpus.delimited import delimited
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError


def read(content: str | bytes, limit: int = 10_000, delimiter: str = ",") -> list[tuple[int, Any]]:
    """Line and row, or the reason why it cannot be used."""
    raw = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    rows = delimited(delimiter, raw, "c.csv", ("text",), limit)
    return [(number, row.reason if isinstance(row, RowError) else row) for number, row in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,id,text\na,1,b", "c.csv, line 1: two columns are called 'text'; rename one of them"),
        ('"text', "line 1: cannot read the header .malformed_csv: a quote that opens here is never closed"),
        ('"text"x,id\n', "cannot read the header .malformed_csv: ',' expected after '\"'"),
        (b"te\xffxt\na", "cannot read the header .invalid_utf8: byte 2.; expected the names of the columns"),
        ("text,id\ra,1\r", "cannot read the header .malformed_csv: new-line character"),
    ],
)
def test_an_unreadable_header_is_reported(content: str | bytes, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read(content)


@pytest.mark.parametrize("content", ["", "\n\r\n", "text,id\n", "text,id"])
def test_a_file_without_rows_gives_none(content: str) -> None:
    assert read(content) == []


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("a", "malformed_csv"),
        ("a,1,more", "malformed_csv"),
        ('"a"b,1', "malformed_csv"),
        ('"Hello," he said.,1', "malformed_csv"),
        ('"never closed,1', "malformed_csv"),
        ('"never closed\nmore', "malformed_csv"),
        (b"\xff,1", "invalid_utf8"),
        (b'"a\n\xff",1', "invalid_utf8"),
        ("a" * 300 + ",1", "line_too_long"),
        ('"' + "a\n" * 150 + '",1', "line_too_long"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_damaged_record_is_skipped_alone(record: str | bytes, reason: str, delimiter: str) -> None:
    raw = record if isinstance(record, bytes) else record.encode()
    content = b'text,id\n"x",0\n' + raw + b'\n"y",2\nz,3\n'
    found = [row for _, row in read(content.replace(b",", delimiter.encode()), 200, delimiter)]
    assert found[0] == {"text": "x", "id": "0"}
    assert found[-2:] == [{"text": "y", "id": "2"}, {"text": "z", "id": "3"}]
    assert found[1] == reason
    # Lines that a quote joined are read one by one, and are no records by themselves here.
    assert set(found[2:-2]) <= {"malformed_csv"}


def test_an_unclosed_quote_does_not_swallow_the_file() -> None:
    content = 'text\n"open\n' + "a\n" * 500
    assert read(content)[:3] == [(2, "malformed_csv"), (3, {"text": "a"}), (4, {"text": "a"})]
    assert len(read(content)) == 501
    assert len(read(content, limit=100)) == 501


def test_unclosed_quotes_take_linear_time() -> None:
    content = "text,id\n" + 'a","b\n' * 20_000
    started = time.process_time()
    assert {row for _, row in read(content, 1 << 24)} == {"malformed_csv"}
    assert time.process_time() - started < 30


def test_line_numbers_count_blank_lines() -> None:
    content = '\ufefftext,id\r\n\r\n"two\r\nlines",1\r\n\r\nb,"say ""yes"""\r\n5" pipe,\r\n'
    assert read(content) == [
        (3, {"text": "two\nlines", "id": "1"}),
        (6, {"text": "b", "id": 'say "yes"'}),
        (7, {"text": '5" pipe', "id": ""}),
    ]


def test_unicode_line_separators_stay_in_the_text() -> None:
    text = "a\u2028b\u0085c\x0bd\x1ce"
    assert read(f'text,id\n{text},1\n"{text}",2\n') == [
        (2, {"text": text, "id": "1"}),
        (3, {"text": text, "id": "2"}),
    ]


def test_a_field_may_exceed_the_default_limit_of_csv() -> None:
    assert read("text\n" + "a" * 200_000, 300_000) == [(2, {"text": "a" * 200_000})]


def test_a_huge_line_is_not_kept_in_memory() -> None:
    content = b'text\na\n"' + b"x" * 50_000_000 + b'"\nb\n'
    tracemalloc.start()
    found = [row for _, row in read(content, 1_000_000)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [{"text": "a"}, "line_too_long", {"text": "b"}]
    assert peak < 10_000_000


@settings(max_examples=150, deadline=None)
@given(
    # csv itself takes "\r" for a line end within quotes only, and drops it at the end of a line.
    table=st.lists(st.tuples(*[st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]))] * 2)),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    delimiter=st.sampled_from([",", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_files_written_by_csv_are_read(
    table: list[tuple[str, str]], quoting: Any, delimiter: str, end: str, mark: str
) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([("text", "id"), *table])
    found = [row for _, row in read((mark + stream.getvalue()).encode(), delimiter=delimiter)]
    assert found == [{"text": text, "id": id} for text, id in table]


@settings(max_examples=150, deadline=None)
@given(content=st.lists(st.sampled_from(['"', '""', ",", "\n", "a", "\r\n"]), max_size=30).map("".join))
def test_no_line_is_lost_whatever_the_quotes(content: str) -> None:
    numbers = [number for number, _ in read("text,id\n" + content)]
    assert numbers == sorted(set(numbers))
