"""Conditional gain and finding the own response: by hand, and with a model that has known likelihoods."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from x_instruction.engines import Batch, Scored, single_batch
from x_instruction.engines.truncation import truncate_by_bytes
from x_instruction.errors import CorpusError
from x_instruction.evaluation.held_out import Row
from x_instruction.evaluation.intrinsic import Conditional, conditional, intrinsic_metrics

ROWS = [
    Row("a", "Why does it rain?", "Sade tulee pilvistä, kun vesi tiivistyy.", "fi"),
    Row("b", "How is bread made?", "Leipä tehdään jauhoista, vedestä ja suolasta.", "fi"),
    Row("c", "Where do seals live?", "Norpat elävät jäällä ja meressä.", "fi"),
]


class Knowing:
    """A model for which a response is 3 nats likelier after its own instruction; some responses are likely anyway."""

    model, revision, chat = "knowing", "1", False
    capabilities = frozenset({"score"})
    truncate = staticmethod(truncate_by_bytes)

    def __init__(self, own: float, likely: str = "") -> None:
        self.own, self.likely = own, likely
        self.asked: list[Any] = []

    def plan(self, requests: Any) -> list[Batch]:
        return single_batch(requests)

    def answer(self, requests: Any, shared: int = 0, should_continue: Any = None) -> Iterator[Any]:
        self.asked += requests
        pairs = {row.prompt: row.completion for row in ROWS}
        for n, request in enumerate(requests):
            prior = -1.0 if request.continuation == self.likely else -40.0
            yield n, Scored(prior + self.own * (pairs[request.prompt] == request.continuation), 5, 9)


def test_the_gain_is_of_the_matching_instruction() -> None:
    model = Knowing(3.0, likely=ROWS[1].completion)
    found = conditional(ROWS, model, lambda text: text)
    assert [row.gain for row in found] == pytest.approx([3.0] * 3)
    # A response that is likely after any instruction is not taken for the own one of every instruction.
    assert [row.found for row in found] == [True] * 3
    # Nothing is scored twice: three instructions with three responses.
    assert len(model.asked) == len(set(model.asked)) == 9


def test_the_gain_is_zero_if_the_instruction_has_no_effect() -> None:
    found = conditional(ROWS, Knowing(0.0), lambda text: text)
    assert [(row.gain, row.found) for row in found] == [(0.0, False)] * 3
    worse = conditional(ROWS, Knowing(-2.0), lambda text: text)
    assert [(row.gain, row.found) for row in worse] == [(pytest.approx(-2.0), False)] * 3


def test_the_nearest_responses_are_the_most_similar_ones() -> None:
    near = Row("d", "What is rain?", "Sade tulee pilvistä, kun vesi on kylmää.", "fi")
    model = Knowing(3.0)
    conditional([*ROWS, near], _anything(model), lambda text: text, nearest=2)
    asked = {(request.prompt, request.continuation) for request in model.asked}
    assert (ROWS[0].prompt, near.completion) in asked


def _anything(model: Knowing) -> Knowing:
    def answer(requests: Any, shared: int = 0, should_continue: Any = None) -> Iterator[Any]:
        model.asked += requests
        yield from enumerate([Scored(-1.0, 5, 9)] * len(requests))

    model.answer = answer  # type: ignore[method-assign]
    return model


def test_a_language_with_one_response_is_refused() -> None:
    swahili = Row("e", "Why?", "Kwa sababu mvua inanyesha.", "sw")
    with pytest.raises(CorpusError, match="sw has one response only, expected at least two"):
        conditional([*ROWS, swahili], Knowing(1.0), lambda text: text)


def test_means_by_hand() -> None:
    rows = [Conditional("a", "fi", 2.0, True), Conditional("b", "fi", 0.0, False), Conditional("c", "sw", 4.0, True)]
    rows.append(Conditional("d", "sw", 2.0, True))
    found = intrinsic_metrics(rows)
    assert (found["fi"].gain, found["fi"].found, found["fi"].chance) == (1.0, 0.5, 0.5)
    assert (found["all"].rows, found["all"].gain, found["all"].found) == (4, 2.0, 0.75)
    low, high = found["all"].gain_interval
    assert low < 2.0 < high
    assert math.isclose(found["all"].chance, 0.5)
