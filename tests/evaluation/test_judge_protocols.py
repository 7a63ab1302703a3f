"""How judges are asked: prompts, both orders, aspects, and what is read from answers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from x_instruction.engines import Batch, Choice, Chosen, Completed, Completion, Failed, Request, Result, single_batch
from x_instruction.errors import RecipeError
from x_instruction.evaluation.judge.protocols import (
    ASPECTS,
    CULTURE,
    Protocol,
    criterion,
    included,
    judge,
    prompt_digest,
    protocol,
    template,
)
from x_instruction.evaluation.judge.verdicts import OVERALL, Comparison, Judgement
from x_instruction.evaluation.language import answer_language
from x_instruction.languages import PAPER_LANGUAGES


@dataclass
class Scripted:
    """An engine that answers from a list, and keeps what it was asked."""

    answers: list[Result]
    chat: bool = True
    capabilities: frozenset[str] = frozenset({"complete", "choose"})
    model: str = "judge"
    revision: str = "1"

    def __post_init__(self) -> None:
        self.asked: list[Request] = []

    def ask(self, requests: Sequence[Request]) -> list[Result]:
        self.asked += requests
        return [self.answers.pop(0) for _ in requests]

    def truncate(self, text: str, tokens: int) -> str:
        return text[:tokens]

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        return single_batch(requests)

    def answer(self, requests: Sequence[Request], shared: int = 0, should_continue: object = None) -> object:
        raise AssertionError("asked through ask alone")


def compared(tag: str = "sw", asked_in: str = "en") -> Comparison:
    return Comparison(
        question_id="1",
        question="Why is the sky {blue}?",
        question_language=asked_in,
        language=tag,
        systems=("a", "b"),
        answers=("Jibu la kwanza.", "Jibu la pili {first}."),
    )


def run(engine: Scripted, asked: Protocol, comparison: Comparison | None = None) -> tuple[Judgement, ...]:
    (judgements,) = judge([comparison or compared()], asked, engine, engine.ask)  # type: ignore[arg-type]
    return judgements


def text(value: str) -> Completed:
    return Completed(value, "stop", 1, 1)


def test_the_prompt_of_the_paper_is_used() -> None:
    engine = Scripted([text("<score1>8</score1><score2>3</score2>"), text("<score1>2</score1><score2>9</score2>")])
    (judgement,) = run(engine, protocol("x-instruction"))
    assert (judgement.forward.scores, judgement.backward.scores) == ((8, 3), (2, 9))
    assert judgement.value == 1.0
    first, second = engine.asked
    assert isinstance(first, Completion)
    assert (first.temperature, first.top_p, first.max_tokens) == (0.0, 1.0, 256)
    shown = "\n".join(content for _, content in first.prompt)
    for part in ("<score1>", "<score2>", "from 0", "to 10", "no reasons", "understands Swahili and no other language"):
        assert part in shown
    assert shown.index("Jibu la kwanza.") < shown.index("Jibu la pili {first}.")
    swapped = "\n".join(content for _, content in second.prompt)
    assert swapped.index("Jibu la pili {first}.") < swapped.index("Jibu la kwanza.")
    assert "Why is the sky {blue}?" in swapped


def test_an_unreadable_answer_is_retried_and_then_counted() -> None:
    engine = Scripted([text("7 and 8"), text("<score1>1</score1><score2>9</score2>"), text("<score1>7</score1>")])
    (judgement,) = run(engine, protocol("x-instruction", retries=1))
    assert judgement.forward.failure == "not_parsed"
    assert judgement.forward.text == "<score1>7</score1>"
    assert judgement.value is None
    completions = [request for request in engine.asked if isinstance(request, Completion)]
    # At temperature 0, another seed would give the same answer.
    assert [(request.seed, request.temperature) for request in completions] == [(0, 0.0), (0, 0.0), (1, 0.3)]
    engine = Scripted([Failed("engine_timeout", "slow"), text("<score1>1</score1><score2>1</score2>")])
    (judgement,) = run(engine, protocol("x-instruction", retries=3))
    assert judgement.forward.failure == "engine_timeout"


def test_a_truncated_answer_is_counted_and_not_retried() -> None:
    cut = Completed("Both replies name", "length", 1, 5)
    engine = Scripted([cut, text("<score1>1</score1><score2>9</score2>")])
    (judgement,) = run(engine, protocol("x-instruction", retries=1, max_tokens=5))
    assert (judgement.forward.failure, judgement.forward.text) == ("cut_off", "Both replies name")
    assert [request.max_tokens for request in engine.asked if isinstance(request, Completion)] == [5, 5]


def test_nan_probabilities_are_not_a_tie() -> None:
    engine = Scripted([Chosen((math.nan, math.nan), 1), Chosen((0.4, 0.6), 1)])
    (judgement,) = run(engine, protocol("choice"))
    assert judgement.forward.failure == "not_finite"
    assert judgement.value is None


def test_choices_use_probabilities() -> None:
    engine = Scripted([Chosen((0.8, 0.2), 1), Chosen((0.4, 0.6), 1)])
    (judgement,) = run(engine, protocol("choice"))
    assert judgement.preference == pytest.approx(0.7)
    assert judgement.value == 1.0
    first = engine.asked[0]
    assert isinstance(first, Choice)
    assert first.answers == ("A", "B")
    assert "The reply should be in Swahili." in first.prompt[0][1]


def test_an_engine_without_probabilities_writes_the_letter() -> None:
    engine = Scripted([text("**A**"), text("I like both.")], capabilities=frozenset({"complete"}))
    (judgement,) = run(engine, protocol("choice", retries=0))
    assert judgement.forward.preference == 1.0
    assert judgement.backward.failure == "not_parsed"


def test_base_models_get_a_plain_prompt() -> None:
    engine = Scripted([Chosen((0.8, 0.2), 1), Chosen((0.4, 0.6), 1)], chat=False)
    run(engine, protocol("choice"))
    first = engine.asked[0]
    assert isinstance(first, Choice)
    assert isinstance(first.prompt, str)
    assert first.prompt.endswith("The better reply is reply")
    assert first.answers == (" A", " B")
    with pytest.raises(RecipeError, match="judge/x-instruction is a chat prompt, and the judge has no chat template"):
        run(engine, protocol("x-instruction"))


def test_a_rubric_asks_about_each_aspect_and_culture_is_not_counted() -> None:
    aspects = ("language", "fluency", CULTURE)
    engine = Scripted([Chosen((p, 1 - p), 1) for p in (0.9, 0.1, 0.7, 0.5, 0.0, 1.0)])
    judgements = run(engine, protocol("rubric", aspects))
    assert [judgement.aspect for judgement in judgements] == [OVERALL, *aspects]
    assert judgements[0].preference == pytest.approx((0.9 + 0.6) / 2)
    assert judgements[3].preference == 0.0
    prompts = [request.prompt[0][1] for request in engine.asked[::2]]
    assert "Compare the language alone: the better reply is in Swahili" in prompts[0]
    assert "customs" in prompts[2]
    assert protocol("rubric").aspects == ASPECTS
    assert all("{" not in criterion(aspect).replace("{language}", "") for aspect in (OVERALL, *ASPECTS, CULTURE))


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_prompts_can_be_in_the_language_of_the_answer(tag: str) -> None:
    prompt = template(protocol("choice", prompt_language="answer"), tag, chat=True)
    assert prompt.name == f"judge/choice.{tag}"
    assert prompt.slots == {"question", "first", "second"}
    words = re.sub(r"<[^>]+>|\{\w+\}|\[user\]", "", prompt.text)
    assert answer_language(words, tag).right


def test_every_included_prompt_is_used() -> None:
    known = {"x-instruction", "choice", "choice-base", "criteria", *(f"choice.{tag}" for tag in PAPER_LANGUAGES)}
    assert set(included()) == known


def test_invalid_protocols_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--aspects has 'style', expected one of overall, language"):
        protocol("rubric", ("style",))
    with pytest.raises(RecipeError, match="--aspects is for --protocol rubric"):
        protocol("choice", ("fluency",))
    with pytest.raises(RecipeError, match="--prompt-language answer needs --protocol choice"):
        protocol("x-instruction", prompt_language="answer")
    with pytest.raises(RecipeError, match="there is no prompt in Yoruba"):
        template(protocol("choice", prompt_language="answer"), "yo", chat=True)
    own = tmp_path / "own.txt"
    with pytest.raises(RecipeError, match=r"cannot read prompt .*own\.txt"):
        template(protocol("choice", prompt=str(own)), "sw", chat=True)
    own.write_text("{question} {first}")
    with pytest.raises(RecipeError, match=r"has no slot \{second\}"):
        template(protocol("choice", prompt=str(own)), "sw", chat=True)


def test_the_digest_depends_on_the_prompt(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{question} {first} {second}: A or B?")
    digests = {
        prompt_digest(protocol("choice"), True),
        prompt_digest(protocol("choice"), False),
        prompt_digest(protocol("choice", prompt_language="answer"), True),
        prompt_digest(protocol("choice", prompt=str(own)), True),
        prompt_digest(protocol("rubric"), True),
        prompt_digest(protocol("x-instruction"), True),
    }
    assert len(digests) == 6
