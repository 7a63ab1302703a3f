"""Any answer of a server gives a result or a failure with a reason, never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hostile_answers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.engines import Completed, Request
from x_instruction.engines.request_cache import ImportedResult, RequestCache


class _Unasked:
    """An engine that gets no requests."""

    model, revision = "unasked", "main"


@pytest.mark.parametrize(("request_", "answer"), hostile_answers.OPENAI)
def test_the_unchanged_answers_are_valid(request_: Request, answer: Any) -> None:
    assert type(hostile_answers.openai_result(request_, answer)).__name__ in ("Completed", "Chosen")


@pytest.mark.parametrize("number", range(len(hostile_answers.OPENAI)))
@settings(max_examples=150)
@given(data=st.data())
def test_any_answer_of_an_openai_server_or_batch_file_is_read(number: int, data: st.DataObject) -> None:
    request, answer = hostile_answers.OPENAI[number]
    hostile_answers.check(hostile_answers.openai_result(request, data.draw(hostile_answers.hostile(answer))))


@settings(max_examples=150)
@given(answer=hostile_answers.hostile(hostile_answers.TGI))
def test_any_answer_of_text_generation_inference_is_read(answer: Any) -> None:
    hostile_answers.check(hostile_answers.tgi_result(answer))


def test_odd_texts_are_cached_and_read_back(tmp_path: Path) -> None:
    texts = ["\ud83d half", "nul \x00", "\u202e", "", "x" * 100_000]
    results = [Completed(text, "stop", 1, 1) for text in texts]
    with RequestCache(tmp_path / "cache.sqlite", _Unasked(), {}) as cache:  # type: ignore[arg-type]
        cache.import_results([ImportedResult(str(n), str(n), result) for n, result in enumerate(results)])
        assert [cache.lookup(str(n)) for n in range(len(texts))] == results
    for result in results:
        hostile_answers.check(result)
