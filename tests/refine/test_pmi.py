"""The gain compared with plain forward passes, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines import Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.records import Candidate
from x_instruction.refine.pmi import rate

Likelihood = Callable[[str, str], tuple[float, int]]
NAMES = {"fi": "Finnish", "th": "Thai", "bn": "Bangla"}


def settings(direction: str, tokens: int = 40) -> Refine:
    return Refine(rater="pmi", model=Model(name="m"), direction=direction, response_tokens=tokens)  # type: ignore[arg-type]


def test_gain_of_the_response_given_the_instruction(
    engine: TransformersEngine, candidates: list[Candidate], likelihood: Likelihood, tmp_path: Path
) -> None:
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        found = rate(candidates, settings("response"), engine, cache.ask)
    for candidate, rating in zip(candidates, found, strict=True):
        text = engine.truncate(candidate.text, 40)
        alone = f"Answer in {NAMES[candidate.language]}:\n"
        given, tokens = likelihood(f"Question: {candidate.instruction}\n{alone}", text)
        assert rating.score == pytest.approx((given - likelihood(alone, text)[0]) / tokens, abs=1e-4)
        assert rating.p_best is rating.p_flawed is rating.p_worst is None


def test_gain_of_the_instruction_given_the_response(
    engine: TransformersEngine, candidates: list[Candidate], likelihood: Likelihood, tmp_path: Path
) -> None:
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        found = rate(candidates, settings("instruction"), engine, cache.ask)
    for candidate, rating in zip(candidates, found, strict=True):
        text = engine.truncate(candidate.text, 40).replace("\n", " ")
        prompt = f"{NAMES[candidate.language]} article:\n{{}}\n\nEnglish title of the article:"
        instruction = f" {candidate.instruction}"
        given, _ = likelihood(prompt.format(text), instruction)
        assert rating.score == pytest.approx(given - likelihood(prompt.format(""), instruction)[0], abs=1e-3)


@pytest.mark.parametrize("direction", ["response", "instruction"])
def test_no_request_is_sent_twice(engine: TransformersEngine, candidates: list[Candidate], direction: str) -> None:
    sent: list[Request] = []

    def ask(requests: Sequence[Request]) -> list[Result]:
        sent.extend(requests)
        return [result for request in requests for _, result in engine.answer([request])]

    rate(candidates[:6], settings(direction, 8), engine, ask)
    assert len(set(sent)) == len(sent)
    # Two passages and three instructions: six given, and alone as many as there are responses or instructions.
    assert len(sent) == 6 + (2 if direction == "response" else 3)


def test_no_candidates_send_no_requests(engine: TransformersEngine) -> None:
    assert rate([], settings("response"), engine, lambda requests: []) == []
