"""Engines run a language model. An engine offers up to three capabilities.

- *complete* generates text after a prompt;
- *choose* returns the probability of each given answer, so no generated text has to be parsed;
- *score* returns the log-likelihood of a continuation.

Each request has one result. An engine plans batches from the requests alone, so a batch is the same in every run and
after every resume.

Only the module of an engine imports that engine's library.
"""

from __future__ import annotations

import difflib
import gc
import importlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from x_instruction.config.model import Model
from x_instruction.errors import RecipeError
from x_instruction.records import storable

# A chat prompt is a sequence of (role, content); a plain prompt is text that the model continues.
Prompt = str | tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """Generate text after a prompt.

    Args:
        prompt: text or chat messages. Put the fixed part first: engines compute a shared prefix once.
        max_tokens: maximum number of new tokens.
        temperature: sampling temperature; 0 is greedy decoding.
        top_p: nucleus sampling, the smallest set of tokens with this much probability; 1 disables it.
        top_k: sample from this many most likely tokens; 0 disables it.
        stop: strings that end the text; they are not part of it.
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
    """Compare the probabilities of given answers after a prompt."""

    prompt: Prompt
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scoring:
    """Compute the log-likelihood of a continuation, of its first ``max_tokens`` tokens (0: all)."""

    prompt: Prompt
    continuation: str
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    """The generated text, made ``storable``; ``finish_reason`` is ``stop`` or ``length``."""

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
    """Natural logarithm of the continuation's probability, and the number of scored tokens."""

    log_likelihood: float
    tokens: int
    prompt_tokens: int
    output_tokens: int = 0


# Why a request has no answer. Records that need the answer are dropped with these names as the reason.
FAILURES = {
    "engine_too_long": "the prompt and its answer do not fit into the model's context",
    "engine_refused": "the server rejected the request as invalid",
    "engine_filtered": "the server's content filter withheld the answer",
    "engine_unavailable": "the server failed or could not be reached, at every attempt",
    "engine_timeout": "every attempt timed out",
    "engine_bad_answer": "the server's answer could not be parsed",
}


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that failed permanently. Other requests continue.

    Args:
        reason: a key of ``FAILURES``.
        message: a short explanation for people; never contains an API key.
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
# The same for requests that are prepared part by part, with their total number: the results of each part, in order. The
# engine works on the first parts while others are prepared, and while results are read.
AskParts = Callable[[Iterable[Sequence[Request]], int], Iterator[Sequence[Result]]]


def in_parts(ask: Ask) -> AskParts:
    """Ask for all parts at once, when the last one is prepared."""

    def ask_parts(parts: Iterable[Sequence[Request]], total: int) -> Iterator[Sequence[Result]]:
        prepared = list(parts)
        results = iter(ask([request for part in prepared for request in part]))
        for part in prepared:
            yield list(islice(results, len(part)))

    return ask_parts


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are answered together.

    Args:
        rows: positions in the planned sequence of requests.
        shared: length in tokens of the prefix that all prompts of the plan have in common.
        atomic: floating-point rounding makes an answer depend on the rest of its batch, so a batch with a missing
            answer is run again as a whole. False for servers and schedulers that batch on their own: there only the
            missing requests are sent again.
    """

    rows: tuple[int, ...]
    shared: int = 0
    atomic: bool = True


def single_batch(requests: Sequence[Request]) -> list[Batch]:
    """One batch of all requests, for servers and schedulers that batch on their own."""
    return [Batch(tuple(range(len(requests))), atomic=False)]


def required_capability(request: Request) -> str:
    """The capability that an engine needs to answer this request."""
    return {Completion: "complete", Choice: "choose", Scoring: "score"}[type(request)]


def always() -> bool:
    """The default of ``should_continue``: never stop early."""
    return True


class Engine(Protocol):
    """The interface of every engine."""

    model: str
    """The model's name in records and cards."""
    revision: str
    """Commit on the Hub, or digest of the model's files."""
    capabilities: frozenset[str]
    """A subset of ``complete``, ``choose`` and ``score``."""
    chat: bool
    """Whether the model has a chat template."""

    def truncate(self, text: str, tokens: int) -> str:
        """The longest prefix of the text that has at most this many tokens."""

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """Batches for requests of one type. The same requests always give the same batches."""

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Answer one batch: yields (position in ``requests``, result) in any order.

        Args:
            shared: length in tokens of the prefix that all prompts have in common, from ``Batch.shared``.
            should_continue: called before each request is sent. Once it returns False, requests in flight are still
                answered and no others are sent.
        """


@runtime_checkable
class AnswersStreams(Protocol):
    """An engine whose answers do not depend on their batch, and which works while this process prepares requests."""

    def answer_stream(
        self, requests: Iterable[Request], should_continue: Callable[[], bool] = always
    ) -> Generator[tuple[int, Result], None, None]:
        """As ``Engine.answer``, for requests of one type that are taken when there is room for them."""


@runtime_checkable
class ReportsTokens(Protocol):
    """An engine that says how far it is within a batch, which can take minutes on a CPU."""

    on_tokens: Callable[[int], None]
    """Called with the number of new tokens after every step."""


@runtime_checkable
class HalvesBatches(Protocol):
    """An engine that can work in batches of half the size, where a GPU has too little memory."""

    halved: bool
    """Whether it does."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An entry of the engine registry.

    Args:
        module: the module that implements the engine.
        name: the class in that module.
        extra: the pip extra that installs ``packages``; empty when the engine needs none.
        packages: import names of the required packages.
        capabilities: what the engine supports; for a server, at most these.
        remote: the model runs in a separate server, so its files are not on this machine.
        description: one line for ``x-instruction engines``.
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
        "a model in this process, on a CPU or a GPU; deterministic on one machine",
    ),
    "vllm": EngineSpec(
        "x_instruction.engines.local.vllm",
        "VllmEngine",
        "vllm",
        ("vllm",),
        _ALL,
        False,
        "a model in this process with vLLM's scheduler, on one or several GPUs; needs its own environment",
    ),
    "openai": EngineSpec(
        "x_instruction.engines.remote.openai",
        "OpenAIEngine",
        "http",
        ("aiohttp",),
        _ALL,
        True,
        "any OpenAI-compatible server: vLLM, llama.cpp, SGLang, TGI's /v1, hosted services",
    ),
    "tgi": EngineSpec(
        "x_instruction.engines.remote.tgi",
        "TgiEngine",
        "http",
        ("aiohttp",),
        _ALL,
        True,
        "Text Generation Inference through its own API: grammars, best_of, adapters, streams",
    ),
    "batch": EngineSpec(
        "x_instruction.engines.remote.batch",
        "BatchEngine",
        "",
        (),
        ("complete", "choose"),
        True,
        "request and result files for vllm run-batch and batch services (see `x-instruction batch`)",
    ),
}


def engine_spec(model: Model) -> EngineSpec:
    """The registry entry for ``model.engine``.

    Raises:
        RecipeError: no engine has that name.
    """
    if model.engine not in ENGINES:
        close = difflib.get_close_matches(model.engine, ENGINES, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise RecipeError(f"unknown engine {model.engine!r}{hint} (known: {', '.join(ENGINES)})")
    return ENGINES[model.engine]


def open_engine(model: Model) -> Engine:
    """Load a model into its engine, or connect to its server.

    Raises:
        RecipeError: no engine has that name.
        EngineError: the model cannot be loaded or reached; the message says why.
    """
    spec = engine_spec(model)
    # Large packages and vocabularies create millions of objects that are no garbage: looking for it takes seconds.
    collecting = gc.isenabled()
    gc.disable()
    try:
        engine_class: Any = getattr(importlib.import_module(spec.module), spec.name)
        engine: Engine = engine_class(model)
    finally:
        if collecting:
            gc.enable()
    return engine
