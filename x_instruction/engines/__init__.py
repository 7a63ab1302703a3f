"""Engines: what runs a language model, in three verbs.

*complete* writes text after a prompt, *choose* gives the probability of each of some given answers (nothing is parsed),
*score* gives the log-likelihood of a continuation. One request has one answer; an engine answers requests in batches
that depend on the requests alone, so a batch is the same in every run and after every resume.

Only the module of an engine imports its library.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from x_instruction.config.model import Model
from x_instruction.errors import RecipeError
from x_instruction.records import storable

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
    """New text, made ``storable``; ``finish_reason`` is ``stop`` or ``length``."""

    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        # Here and not in each engine: answers also come from result files and from caches of older versions.
        object.__setattr__(self, "text", storable(self.text))


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


# Why a request has no answer; records that need it are dropped under these names.
FAILURES = {
    "engine_too_long": "the prompt and its answer do not fit into the model's context",
    "engine_refused": "the server calls the request invalid",
    "engine_filtered": "the server's content filter withheld the answer",
    "engine_unavailable": "the server failed, or could not be reached, at every try",
    "engine_timeout": "no answer came in time at any try",
    "engine_bad_answer": "what the server answered cannot be read",
}


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer: this request failed for good, which must not stop the others.

    Args:
        reason: one of ``FAILURES``.
        message: what was said, short, for a person; never a key.
    """

    reason: str
    message: str
    prompt_tokens: int = 0
    output_tokens: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", storable(self.message))


Request = Completion | Choice | Scoring
Result = Completed | Chosen | Scored | Failed
# How a stage asks a model: one result per request, in order. The pipeline passes one that goes through the request
# cache and the budget, so a stage neither knows nor waits for an engine.
Ask = Callable[[Sequence[Request]], list[Result]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are answered together.

    Args:
        rows: their positions in the planned sequence.
        shared: tokens at the start of every prompt of the plan that are the same.
        whole: an answer depends on what else is in the batch (by its rounding), so a batch of which a part is known is
            asked again as a whole. Where a server or scheduler mixes requests as it likes, only what is missing is.
    """

    rows: tuple[int, ...]
    shared: int = 0
    atomic: bool = True


def single_batch(requests: Sequence[Request]) -> list[Batch]:
    """One batch of all, for what mixes requests as it likes."""
    return [Batch(tuple(range(len(requests))), atomic=False)]


def required_capability(request: Request) -> str:
    """What an engine must be able to do to answer this."""
    return {Completion: "complete", Choice: "choose", Scoring: "score"}[type(request)]


def always() -> bool:
    """Go on sending."""
    return True


class Engine(Protocol):
    """What every engine offers."""

    model: str
    """The model's name as records and cards say it."""
    revision: str
    """Commit on the Hub, or digest of the files."""
    capabilities: frozenset[str]
    """Which of ``complete``, ``choose`` and ``score`` it can do."""
    chat: bool
    """Whether the model has a chat template."""

    def truncate(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """Batches for requests of one kind; the same requests always give the same batches."""

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Answers of one batch as (position in ``requests``, result), in any order.

        Args:
            go_on: asked before more is sent; once it is false, what is under way is still answered, and no more.
        """


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """A kind of engine.

    Args:
        module: where it is.
        name: its class there.
        extra: the extra that brings what it needs; empty when nothing is.
        needs: import names of those packages.
        verbs: what it can do; a served one can do what its server can.
        served: whether the model runs in a server of its own, so that there are no files of it here.
        about: one line for people.
    """

    module: str
    name: str
    extra: str
    packages: tuple[str, ...]
    capabilities: tuple[str, ...]
    remote: bool
    description: str


_ALL = ("complete", "choose", "score")

ENGINES = {
    "transformers": EngineSpec(
        "x_instruction.engines.local.transformers",
        "TransformersEngine",
        "transformers",
        ("torch", "transformers"),
        _ALL,
        False,
        "a model in this process, on a CPU or a GPU; equal bytes on one machine",
    ),
    "vllm": EngineSpec(
        "x_instruction.engines.local.vllm",
        "VllmEngine",
        "vllm",
        ("vllm",),
        _ALL,
        False,
        "a model in this process by vLLM's scheduler, split over GPUs if need be; an environment of its own",
    ),
    "openai": EngineSpec(
        "x_instruction.engines.remote.openai",
        "OpenAIEngine",
        "http",
        ("aiohttp",),
        _ALL,
        True,
        "any server that speaks OpenAI's API: vLLM, llama.cpp, SGLang, TGI's /v1, hosted ones",
    ),
    "tgi": EngineSpec(
        "x_instruction.engines.remote.tgi",
        "TgiEngine",
        "http",
        ("aiohttp",),
        _ALL,
        True,
        "Text Generation Inference by its own API: grammars, best_of, adapters, streams",
    ),
    "batch": EngineSpec(
        "x_instruction.engines.remote.batch",
        "BatchEngine",
        "",
        (),
        ("complete", "choose"),
        True,
        "files of requests and results: vllm run-batch, batch services (see `x-instruction batch`)",
    ),
}


def engine_spec(model: Model) -> EngineSpec:
    """The kind of engine that a model's settings name.

    Raises:
        RecipeError: no engine has that name.
    """
    if model.engine not in ENGINES:
        close = difflib.get_close_matches(model.engine, ENGINES, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise RecipeError(f"unknown engine {model.engine!r}{hint} (known: {', '.join(ENGINES)})")
    return ENGINES[model.engine]


def open_engine(model: Model) -> Engine:
    """Load a model into its engine, or reach its server.

    Raises:
        RecipeError: no engine has that name.
        EngineError: the model cannot be loaded or reached; the message says why.
    """
    found = engine_spec(model)
    make: Any = getattr(importlib.import_module(found.module), found.name)
    engine: Engine = make(model)
    return engine
