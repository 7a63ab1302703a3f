"""Every request follows the description of the API of Text Generation Inference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from engines import tgi_spec
from engines.tgi_double import Double
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from x_instruction.config.model import Model, Server
from x_instruction.engines import Choice, Chosen, Completed, Completion, Failed, Request, Scored, Scoring
from x_instruction.engines.remote.tgi import TgiEngine

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
PROMPTS = TEXT | st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1).map(tuple)
NUMBERS = st.sampled_from([0.0, 1e-300, 1e-7, 1 - 1e-8, 1 - 1e-9, 1.0, 2.0]) | st.floats(0, 5)
COMPLETIONS = st.builds(
    Completion,
    prompt=PROMPTS,
    max_tokens=st.integers(1, 3000),
    temperature=NUMBERS,
    top_p=NUMBERS.filter(lambda p: p <= 1),
    top_k=st.just(0) | st.integers(0, 2**31 - 1),
    stop=st.lists(TEXT, max_size=9).map(tuple),
    seed=st.sampled_from([0, 2**31, 2**63 - 1, 2**63, 2**64]) | st.integers(0, 2**70),
)
CHOICES = st.builds(Choice, PROMPTS, st.lists(TEXT, min_size=1, max_size=7, unique=True).map(tuple))
SCORINGS = st.builds(Scoring, PROMPTS, TEXT, st.integers(0, 5))
EXTRAS: dict[str, dict[str, Any]] = {
    "none": {},
    "best_of": {"best_of": 2, "repetition_penalty": 1.03},
    "grammar": {"grammar": {"type": "regex", "value": ".*"}, "typical_p": 0.95, "watermark": True},
    "json": {"grammar": {"type": "json", "value": {"properties": {"a": {"type": "string"}}}}, "frequency_penalty": 0.1},
}


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    server = Double()
    yield server
    server.close()


def engines(double: Double) -> dict[str, TgiEngine]:
    def make(adapter: str | None = None, stream: bool = False, **extra: Any) -> TgiEngine:
        server = Server(url=double.url, retries=0, stream=stream, extra_body=json.dumps(extra))
        return TgiEngine(Model(name="toy", engine="tgi", adapter=adapter, server=server))

    found = {name: make(**extra) for name, extra in EXTRAS.items()}
    found |= {f"streamed {name}": make(stream=True, adapter="lora", **extra) for name, extra in EXTRAS.items()}
    double.template = ""
    return found | {"routed": make(adapter="lora"), "routed adding": make(frequency_penalty=0.5)}


@pytest.fixture(scope="module")
def known(double: Double) -> dict[str, TgiEngine]:
    found = engines(double)
    assert double.wrong == [], "the probes break the description"
    return found


def ask(double: Double, engine: TgiEngine, *requests: Request) -> list[Any]:
    double.template = "" if engine.probed.chat == "routed" else "<s>"
    double.wrong.clear()
    found = dict(engine.answer(requests))
    assert double.wrong == []
    return [found[position] for position in range(len(requests))]


@pytest.mark.parametrize("name", [*EXTRAS, *(f"streamed {name}" for name in EXTRAS), "routed", "routed adding"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(COMPLETIONS, min_size=1, max_size=4))
def test_completions_follow_the_api_description(
    double: Double, known: dict[str, TgiEngine], name: str, requests: list[Completion]
) -> None:
    for result in ask(double, known[name], *requests):
        # The server's rules beyond its description accept every request, too.
        assert isinstance(result, Completed) or result.reason == "engine_too_long"


@settings(max_examples=100, deadline=None)
@given(request=CHOICES | SCORINGS)
def test_choices_and_scorings_follow_the_api_description(
    double: Double, known: dict[str, TgiEngine], request: Choice | Scoring
) -> None:
    (result,) = ask(double, known["none"], request)
    assert isinstance(result, Chosen | Scored), result
    if isinstance(result, Chosen):
        assert sum(result.probabilities) == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=5, unique=True).map(tuple))
def test_choices_with_routed_chat_follow_the_api_description(
    double: Double, known: dict[str, TgiEngine], answers: tuple[str, ...]
) -> None:
    (result,) = ask(double, known["routed"], Choice((("user", "Which?"),), answers))
    assert isinstance(result, Chosen | Failed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0},
        {"seed": 0},
        {"top_k": 0},
        {"top_p": 1.5},
        {"stop": ["a"] * 5},
        {"max_new_tokens": -1},
        {"best_of": 0},
        {"grammar": {"type": "regex"}},
        {"details": "yes"},
    ],
)
def test_the_api_description_rejects_invalid_parameters(wrong: dict[str, Any]) -> None:
    assert tgi_spec.wrong_value(wrong, "GenerateParameters")
