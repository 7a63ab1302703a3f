"""Streams of events in every form that the standard allows, split at any byte."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.engines.remote.sse import Parser

LINES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\ufeff"), max_size=12)


def parsed(*chunks: bytes) -> list[str]:
    parser = Parser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"data: cut off",
        b"data: cut off\n",
        b": only a comment\n\n",
        b"\n\n\n",
        b"event: ping\n\n",
        b"id: 7\nretry: 100\n\n",
        b"nonsense\n\n",
        b"\xef\xbb\xbf\n\n",
    ],
)
def test_other_lines_give_no_event(stream: bytes) -> None:
    assert parsed(stream) == []


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r\n", ["a", "b"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data\n\n", [""]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b": keep-alive\ndata: a\n: more\nid: 3\nevent: x\n\n:\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        (b"data: a\n\ndata: cut o", ["a"]),
    ],
)
def test_events_are_parsed(stream: bytes, events: list[str]) -> None:
    assert parsed(stream) == events
    assert parsed(*(bytes([byte]) for byte in stream)) == events


@given(
    st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=5),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.booleans(),
    st.lists(st.integers(0, 400), max_size=20),
)
def test_chunk_boundaries_do_not_matter(events: list[list[str]], end: str, comments: bool, cuts: list[int]) -> None:
    parts = []
    for lines in events:
        parts += [": alive"] if comments else []
        parts += [*(f"data: {line}" for line in lines), ""]
    stream = "".join(part + end for part in parts).encode()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:stop] for start, stop in itertools.pairwise(places)]
    assert parsed(*chunks) == ["\n".join(lines) for lines in events]


@pytest.mark.parametrize("head", [b"data: ", b""])
def test_the_time_is_linear_in_the_length_of_a_line(head: bytes) -> None:
    def seconds(chunks: int) -> float:
        start = time.process_time()
        assert parsed(head, *[b"x" * 1_024] * chunks, b"\n\n") == ["x" * 1_024 * chunks] * bool(head)
        return time.process_time() - start

    few, many = (min(seconds(chunks) for _ in range(3)) for chunks in (400, 4_000))
    # 10 times the bytes; a parser that looks at the whole line again with each chunk takes 100 times as long.
    assert many < 35 * few
