"""How a judge is asked about two answers, and how its answer is read. Every comparison is judged in both orders.

- ``x-instruction`` is the protocol of the paper (docs/method.md 2.7): temperature 0, an integer from 0 to 10 for each
  answer in tags, no reasons. The prompt is in words of our own, because the paper's has no licence that allows a copy.
- ``choice`` reads the probabilities of the letters A and B, so every request has an answer. An engine that cannot read
  probabilities writes the letter instead.
- ``rubric`` does the same for each aspect; the preference is the mean over them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from x_instruction.engines import Ask, Choice, Chosen, Completed, Completion, Engine, Failed, Request, Result
from x_instruction.errors import RecipeError
from x_instruction.evaluation.judge.reading import read_choice, read_scores
from x_instruction.evaluation.judge.verdicts import OVERALL, Call, Comparison, Judgement, over_aspects
from x_instruction.hashing import digest
from x_instruction.languages import language
from x_instruction.prompts import Template
from x_instruction.storage.atomic import regular_text

ProtocolName = Literal["x-instruction", "choice", "rubric"]
PROTOCOLS: tuple[ProtocolName, ...] = ("choice", "rubric", "x-instruction")
NOT_PARSED = "not_parsed"
# An answer that ends at its limit of tokens, and says nothing before. The same limit would cut it again.
CUT_OFF = "cut_off"
# Probabilities that are not numbers, such as those of a model whose half precision overflows.
NOT_FINITE = "not_finite"
LETTERS = ("A", "B")
# Judges and people hardly agree about culture (UPDESH, arXiv 2509.21294), so it is judged only if it is named, and
# never counts for the whole.
CULTURE = "culture"
ASPECTS = ("language", "helpfulness", "fluency", "factuality", "coherence", "harmlessness")
_REQUIRED = frozenset({"question", "first", "second"})
_SLOTS = _REQUIRED | {"question_language", "language", "criterion"}
_SECTION = re.compile(r"^\[(\w+)\]$", re.MULTILINE)
# A letter, and what a model may put around it.
_LETTER_TOKENS = 8
_SCORE_TOKENS = 256
# At temperature 0, another seed gives the same answer.
_RETRY_TEMPERATURE = 0.3


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a judge is asked.

    Args:
        name: one of ``PROTOCOLS``.
        aspects: what it is asked about.
        prompt: ``auto``, or the path of a prompt of one's own.
        prompt_language: ``en``, or ``answer`` for prompts in the language of the answers.
        max_tokens: most tokens of an answer that is written; 256 for scores and 8 for a letter by default.
        retries: times to ask again, at temperature 0.3, if an answer cannot be read.
    """

    name: ProtocolName = "choice"
    aspects: tuple[str, ...] = (OVERALL,)
    prompt: str = "auto"
    prompt_language: Literal["en", "answer"] = "en"
    max_tokens: int | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        known = (OVERALL, *ASPECTS, CULTURE)
        if unknown := [aspect for aspect in self.aspects if aspect not in known]:
            raise RecipeError(f"--aspects has {unknown[0]!r}, expected one of {', '.join(known)}")
        if not self.aspects or (self.name != "rubric" and self.aspects != (OVERALL,)):
            raise RecipeError(f"--aspects is for --protocol rubric; {self.name} asks about the whole answer")
        if self.prompt_language == "answer" and (self.name != "choice" or self.prompt != "auto"):
            raise RecipeError("--prompt-language answer needs --protocol choice, without --prompt")

    @property
    def counted(self) -> tuple[str, ...]:
        """The aspects that count for the whole."""
        return tuple(aspect for aspect in self.aspects if aspect != CULTURE)


def protocol(
    name: ProtocolName,
    aspects: Sequence[str] = (),
    prompt: str = "auto",
    prompt_language: Literal["en", "answer"] = "en",
    retries: int = 1,
    max_tokens: int | None = None,
) -> Protocol:
    """A protocol with the default aspects of its name."""
    default = ASPECTS if name == "rubric" else (OVERALL,)
    return Protocol(name, tuple(dict.fromkeys(aspects)) or default, prompt, prompt_language, max_tokens, retries)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request and what it is about: a comparison by its number, an aspect, and the order."""

    number: int
    aspect: str
    is_swapped: bool


def judge(
    comparisons: Sequence[Comparison], protocol: Protocol, engine: Engine, ask: Ask
) -> list[tuple[Judgement, ...]]:
    """The judgements of each comparison: the whole, and each aspect if there are several.

    Args:
        comparisons: pairs of answers.
        protocol: how to ask.
        engine: says what it can do, and whether the model has a chat template.
        ask: returns one result per request.

    Raises:
        RecipeError: a prompt for another kind of model, one without a slot, or none in a language.
    """
    items = [
        _Asked(number, aspect, swapped)
        for number in range(len(comparisons))
        for aspect in protocol.aspects
        for swapped in (False, True)
    ]
    calls = _calls([_request(comparisons[item.number], item, protocol, engine) for item in items], protocol, ask)
    judged: list[list[Judgement]] = [[] for _ in comparisons]
    for item, forward, backward in zip(items[::2], calls[::2], calls[1::2], strict=True):
        judgement = Judgement(
            comparison=comparisons[item.number], aspect=item.aspect, forward=forward, backward=backward
        )
        judged[item.number].append(judgement)
    return [_with_whole(judgements, protocol) for judgements in judged]


def _with_whole(judgements: Sequence[Judgement], protocol: Protocol) -> tuple[Judgement, ...]:
    if protocol.aspects == (OVERALL,):
        return tuple(judgements)
    counted = [judgement for judgement in judgements if judgement.aspect in protocol.counted]
    return (over_aspects(counted), *judgements) if counted else tuple(judgements)


def _calls(requests: Sequence[Request], protocol: Protocol, ask: Ask) -> list[Call]:
    """Ask, and ask again what could not be read."""
    calls = [_read(result, protocol) for result in ask(requests)] if requests else []
    for attempt in range(1, protocol.retries + 1):
        rows = [row for row, call in enumerate(calls) if call.failure == NOT_PARSED]
        again = [
            replace(request, seed=attempt, temperature=_RETRY_TEMPERATURE)
            for row in rows
            if isinstance(request := requests[row], Completion)
        ]
        if not again:
            break
        for row, result in zip(rows, ask(again), strict=True):
            calls[row] = _read(result, protocol)
    return calls


def _read(result: Result, protocol: Protocol) -> Call:
    if isinstance(result, Failed):
        return Call(failure=result.reason, text=result.message)
    if isinstance(result, Chosen):
        if not all(map(math.isfinite, result.probabilities)):
            return Call(failure=NOT_FINITE)
        return Call(preference=result.probabilities[0])
    assert isinstance(result, Completed)
    unread = Call(failure=CUT_OFF if result.finish_reason == "length" else NOT_PARSED, text=result.text)
    if protocol.name == "x-instruction":
        scores = read_scores(result.text)
        if scores is None:
            return unread
        return from_scores(scores, result.text)
    letter = read_choice(result.text, LETTERS)
    if letter is None:
        return unread
    return Call(preference=float(letter == LETTERS[0]), text=result.text)


def from_scores(scores: tuple[int, int], text: str = "") -> Call:
    """The call of two scores: the higher one wins."""
    return Call(preference=0.5 if scores[0] == scores[1] else float(scores[0] > scores[1]), scores=scores, text=text)


def _request(comparison: Comparison, item: _Asked, protocol: Protocol, engine: Engine) -> Request:
    prompt = template(protocol, comparison.language, engine.chat)
    first, second = comparison.answers[::-1] if item.is_swapped else comparison.answers
    into = language(comparison.language)
    filled = prompt.fill(
        question=comparison.question,
        question_language=_user_language(comparison, protocol),
        language=into.name,
        first=first,
        second=second,
        criterion=criterion(item.aspect).replace("{language}", into.name),
    )
    if protocol.name == "x-instruction":
        return Completion(filled, protocol.max_tokens or _SCORE_TOKENS)
    if "choose" in engine.capabilities:
        return Choice(filled, LETTERS if prompt.chat else tuple(f" {letter}" for letter in LETTERS))
    return Completion(filled, protocol.max_tokens or _LETTER_TOKENS)


def _user_language(comparison: Comparison, protocol: Protocol) -> str:
    """The language of the question. The user of the paper's prompt, who knows one language only, gets another one from
    a cross-lingual question: that of the answer."""
    tag = comparison.language if protocol.name == "x-instruction" else comparison.question_language
    return language(tag).name


def template(protocol: Protocol, tag: str, chat: bool) -> Template:
    """The prompt of a protocol.

    Args:
        protocol: the protocol.
        tag: language of the answers.
        chat: whether the model has a chat template.

    Raises:
        RecipeError: unknown prompt, one without a slot or with an unknown one, or one for another kind of model.
    """
    prompt = _own(protocol.prompt) if protocol.prompt != "auto" else _included(protocol, tag, chat)
    if missing := sorted(_REQUIRED - prompt.slots):
        raise RecipeError(
            f"prompt {prompt.name} has no slot {{{missing[0]}}}, expected {{question}}, {{first}}, {{second}}"
        )
    if unknown := sorted(prompt.slots - _SLOTS):
        raise RecipeError(f"prompt {prompt.name} has an unknown slot {{{unknown[0]}}}")
    if prompt.chat and not chat:
        raise RecipeError(
            f"prompt {prompt.name} is a chat prompt, and the judge has no chat template: name a chat model, or use "
            "--protocol choice with English prompts"
        )
    return prompt


def _included(protocol: Protocol, tag: str, chat: bool) -> Template:
    name = "x-instruction" if protocol.name == "x-instruction" else "choice" if chat else "choice-base"
    if protocol.prompt_language == "answer" and tag != "en":
        name = f"choice.{tag}"
        if name not in included():
            known = ", ".join(sorted(stem.removeprefix("choice.") for stem in included() if stem.startswith("choice.")))
            raise RecipeError(
                f"there is no prompt in {language(tag).name} (there are {known}): pass a prompt of your own with "
                "--prompt FILE, or use --prompt-language en"
            )
    return Template(f"judge/{name}", _text(name))


@cache
def _own(path: str) -> Template:
    try:
        return Template(path, regular_text(Path(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read prompt {path!r}: {error}; expected auto, or the path of a text") from None


def included() -> list[str]:
    """Names of the judge's prompts that ship with the package."""
    folder = resources.files("x_instruction.prompts") / "judge"
    return sorted(path.name.removesuffix(".txt") for path in folder.iterdir() if path.name.endswith(".txt"))


@cache
def _text(name: str) -> str:
    return (resources.files("x_instruction.prompts") / "judge" / f"{name}.txt").read_text("utf-8")


def criterion(aspect: str) -> str:
    """What makes an answer better in an aspect: one paragraph, with the slot ``{language}``."""
    parts = _SECTION.split(_text("criteria"))[1:]
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))[aspect]


def prompt_digest(protocol: Protocol, chat: bool) -> str:
    """Digest of every prompt that a protocol may use. Another prompt gives other judgements."""
    if protocol.prompt_language == "answer":
        texts = [_text(name) for name in included() if name.startswith("choice")]
    else:
        texts = [template(protocol, "en", chat).text]
    return digest([texts, [criterion(aspect) for aspect in protocol.aspects]])
