"""Engines: what runs a language model, in three verbs.

*complete* writes text after a prompt, *choose* gives the probability of each of some given answers (nothing is parsed),
*score* gives the log-likelihood of a continuation. One request has one answer; an engine answers requests in batches
that depend on the requests alone, so a batch is the same in every run and after every resume.

Only the module of an engine imports its library.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from x_instruction.errors import RecipeError
from x_instruction.recipe import Model

# A chat prompt is a sequence of (role, content); a plain prompt is text that the model continues.
Prompt = str | tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """Write text after a prompt.

    Args:
        prompt: the fixed part first, so that engines can share its reading.
        max_tokens: at most this many new tokens.
        temperature: 0 takes the most likely token.
        top_p: smallest set of tokens with this much probability; 1 takes all.
        top_k: the most likely tokens only; 0 takes all.
        stop: writing ends before any of these.
        seed: equal requests with equal seeds give equal text on one machine.
    """

    prompt: Prompt
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Choose among answers after a prompt."""

    prompt: Prompt
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scoring:
    """Score a continuation of a prompt, at most ``max_tokens`` tokens of it."""

    prompt: Prompt
    continuation: str
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    """New text; ``finish_reason`` is ``stop`` or ``length``."""

    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Probability of each answer, in the order of the request; they sum to 1."""

    probabilities: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """Natural logarithm of the continuation's probability, and over how many tokens."""

    log_likelihood: float
    tokens: int
    prompt_tokens: int
    output_tokens: int = 0


Request = Completion | Choice | Scoring
Result = Completed | Chosen | Scored


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are answered together.

    Args:
        rows: their positions in the planned sequence.
        shared: tokens at the start of every prompt of the plan that are the same.
    """

    rows: tuple[int, ...]
    shared: int


class Engine(Protocol):
    """What every engine offers."""

    model: str
    """The model's name as records and cards say it."""
    revision: str
    """Commit on the Hub, or digest of the files."""
    can: frozenset[str]
    """Which of ``complete``, ``choose`` and ``score`` it can do."""
    chat: bool
    """Whether the model has a chat template."""

    def clip(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """Batches for requests of one kind; the same requests always give the same batches."""

    def answer(self, requests: Sequence[Request], shared: int = 0) -> Iterator[tuple[int, Result]]:
        """Answers of one batch as (position in ``requests``, result), in any order."""


ENGINES = {
    "transformers": "x_instruction.engines.transformers:TransformersEngine",
}


def open_engine(model: Model) -> Engine:
    """Load a model into its engine.

    Raises:
        RecipeError: no engine has that name.
        EngineError: the model cannot be loaded; the message says why.
    """
    if model.engine not in ENGINES:
        close = difflib.get_close_matches(model.engine, ENGINES, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise RecipeError(f"unknown engine {model.engine!r}{hint} (known: {', '.join(ENGINES)})")
    module, name = ENGINES[model.engine].split(":")
    kind: Any = getattr(importlib.import_module(module), name)
    engine: Engine = kind(model)
    return engine
