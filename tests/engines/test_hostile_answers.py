"""Any answer of a server gives a result or a failure with a reason, never a traceback."""

from __future__ import annotations

from pathlib import Path

import hostile_answers
import hostile_wire
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.engines import Completed, Failed
from x_instruction.engines.request_cache import ImportedResult, RequestCache

EVERY = pytest.mark.parametrize("source", hostile_answers.SOURCES, ids=lambda source: source.name)


class _Unasked:
    """An engine that gets no requests."""

    model, revision = "unasked", "main"


@EVERY
def test_the_unchanged_answers_are_valid(source: hostile_answers.Source) -> None:
    result = source.read(source.answer)
    assert not isinstance(result, Failed)
    hostile_answers.check(result)


@EVERY
@settings(max_examples=100)
@given(data=st.data())
def test_any_answer_with_parts_replaced_is_read(source: hostile_answers.Source, data: st.DataObject) -> None:
    hostile_answers.check(source.read(data.draw(hostile_answers.hostile(source.answer))))


def test_any_bytes_of_an_answer_over_http_are_read() -> None:
    results = hostile_wire.results(400, seed=0)
    assert len(results) == 400
    assert {type(result) for result in results} == {Completed, Failed}
    for result in results:
        hostile_answers.check(result)


def test_odd_texts_are_cached_and_read_back(tmp_path: Path) -> None:
    texts = ["\ud83d half", "nul \x00", "\u202e", "", "x" * 100_000]
    results = [Completed(text, "stop", 1, 1) for text in texts]
    with RequestCache(tmp_path / "cache.sqlite", _Unasked(), {}) as cache:  # type: ignore[arg-type]
        cache.import_results([ImportedResult(str(n), str(n), result) for n, result in enumerate(results)])
        assert [cache.lookup(str(n)) for n in range(len(texts))] == results
    for result in results:
        hostile_answers.check(result)
