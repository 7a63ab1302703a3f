"""Damaged JSON lists: what drops a row, and what refuses the file."""

from __future__ import annotations

import contextlib
import io
import json
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from x_instruction.corpus import json_list
from x_instruction.corpus.json_list import items
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError

GOOD = '{"a": "x", "b": [1, {"c": "]}"}]}'
CHUNKS = [1, 2, 3, 7, 64, 1 << 20]


def values(content: str | bytes, limit: int = 10_000) -> list[Any]:
    """The objects, and the reasons of those that cannot be used."""
    stream = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    return [item.value.reason if isinstance(item.value, RowError) else item.value for item in items(stream, "c", limit)]


@pytest.fixture(params=CHUNKS)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_list, "CHUNK", request.param)
    return int(request.param)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1, column 1: expected a list of objects, got the end of the file"),
        (GOOD, r"line 1, column 1: expected a list of objects, got '\{'"),
        ("[", "line 1, column 2: row 1 is missing"),
        (f"[{GOOD},\n]", "line 2, column 1: row 2 is missing"),
        ("[,]", "line 1, column 2: row 1 is missing"),
        (f"[\n{GOOD}\n\n{GOOD}]", r"line 4, column 1: expected a comma or the end of the list, got '\{'"),
        (f"[{GOOD}", "column 35: expected a comma or the end of the list, got the end of the file"),
        (f'[{GOOD},\n{{"a": "cut off', "line 2, column 7: Unterminated string"),
        ("[{", "line 1, column 3: Expecting property name"),
        (f"[{GOOD}] more", "column 37: there is text after the list"),
        ("[1", "line 1, column 3: expected a comma or the end of the list, got the end of the file"),
    ],
)
def test_a_damaged_list_is_reported_with_its_position(content: str, message: str, chunk: int) -> None:
    with pytest.raises(CorpusError, match=f"^c, .*{message}.*; expected a JSON list of objects"):
        values(content, 1 << 20)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{'a': 1}", "malformed_json"),
        ('{"a": }', "malformed_json"),
        ('{"a": 1]', "malformed_json"),
        ('{"a": "b\n"}', "malformed_json"),
        ('{"a": "say \\"no\\" {", oops}', "malformed_json"),
        ('{"a": "\\x"}', "malformed_json"),
        ("oops", "malformed_json"),
        ("123456789", "malformed_json"),
        ('"a, ]"', "malformed_json"),
        ("null", "malformed_json"),
        ("[1, 2]", "malformed_json"),
        (b'{"a": "\xff\xfe"}', "invalid_utf8"),
        (b'{"a": "\xe0\xa4"}', "invalid_utf8"),
        (b"{\xff}", "invalid_utf8"),
        ('{"a": "' + "x" * 300 + '"}', "line_too_long"),
        ('{"a": "' + "ก" * 80 + '"}', "line_too_long"),
        ('{"a": "\\"]}' + "x" * 300 + '", "b": [{}, {"}": 1}]}', "line_too_long"),
        ('{"a": "' + "\\\\" * 200 + '"}', "line_too_long"),
        ("{oops" + "x" * 300 + "}", "line_too_long"),
    ],
)
def test_a_damaged_row_is_skipped_alone(row: str | bytes, reason: str, chunk: int) -> None:
    raw = row if isinstance(row, bytes) else row.encode()
    good = json.loads(GOOD)
    assert values(f"[{GOOD},\n".encode() + raw + f" ,{GOOD}\n]".encode(), 200) == [good, reason, good]


def test_rows_and_errors_have_lines_and_columns(chunk: int) -> None:
    found = list(items(io.BytesIO(f"[\n{GOOD},\n {{\n  'a': 1}}, 7]".encode()), "c", 100))
    assert [(item.number, item.line, item.column) for item in found] == [(1, 2, 1), (2, 3, 2), (3, 4, 12)]
    assert isinstance(found[1].value, RowError)
    assert found[1].value.detail.endswith("enclosed in double quotes: line 4 column 3")
    assert found[1].value.text == "{\n  'a': 1}"
    assert found[2].value == RowError("malformed_json", "expected an object, got a number", "7")


def test_deep_nesting_drops_its_row() -> None:
    with pytest.raises(CorpusError, match="line 1, column 2: objects are nested too deep"):
        values("[" * 100_000, 1 << 20)
    deep = "[" * 100_000 + "]" * 100_000
    assert values(f"[{deep}, {GOOD}]", 1 << 20) == ["malformed_json", json.loads(GOOD)]


def test_an_unclosed_row_is_reported_with_bounded_memory() -> None:
    content = f'[{GOOD}, {{"a": "'.encode() + b"x" * 50_000_000
    tracemalloc.start()
    with pytest.raises(CorpusError, match=r"c, line 1, column 37: this row of 50000007 characters has no end"):
        values(content, 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_huge_row_is_skipped_with_bounded_memory() -> None:
    content = f'[{GOOD}, {{"a": "'.encode() + b"x" * 50_000_000 + f'"}}, {GOOD}]'.encode()
    tracemalloc.start()
    found = values(content, 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [json.loads(GOOD), "line_too_long", json.loads(GOOD)]
    assert peak < 20_000_000


def test_memory_does_not_grow_with_the_list() -> None:
    content = b"[" + b",".join([b'{"a": "' + b"x" * 990 + b'"}'] * 30_000) + b"]"
    tracemalloc.start()
    count = sum(1 for _ in items(io.BytesIO(content), "c", 10_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 12_000_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    table=st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=6),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    escape=st.booleans(),
    mark=st.sampled_from(["", "\ufeff"]),
)
@example(table=[{"\u2028": '"\\'}], chunk=1, indent=None, escape=False, mark="")
def test_a_list_is_read_as_json_loads_reads_it(
    table: list[Any], chunk: int, indent: int | None, escape: bool, mark: str
) -> None:
    text = json.dumps(table, indent=indent, ensure_ascii=escape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_list, "CHUNK", chunk)
        assert values((mark + " \n" + text).encode()) == table


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_damage_gives_rows_or_one_error(data: st.DataObject) -> None:
    raw = bytearray(json.dumps([{"a": [n, 'x\\"]'], "b": {"c": None}} for n in range(8)]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from(list(b'"\\[]{},:x\xff\n')))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_list, "CHUNK", random.Random(len(raw)).randint(1, 50))
        stream = io.BytesIO(raw)
        numbers = []
        with contextlib.suppress(CorpusError):
            numbers += [item.number for item in items(stream, "c", 1_000)]
    assert numbers == list(range(1, len(numbers) + 1))
