"""OpenAI's wire format: what is sent for a request, and what an answer means.

Pure functions, so that a live server and a batch file are asked and read by the same lines. Plain prompts go to
``/completions``, chat prompts to ``/chat/completions`` (https://platform.openai.com/docs/api-reference).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from x_instruction.engines import (
    Choice,
    Chosen,
    Completed,
    Completion,
    Failed,
    Prompt,
    Request,
    Result,
    Scored,
    Scoring,
)
from x_instruction.engines.truncation import cut_at_stop
from x_instruction.errors import EngineError, NotCapable

# Servers take 32-bit seeds at least.
_SEEDS = 1 << 31
_TOO_LONG = ("context", "too long", "too large", "maximum length", "max_model_len", "max_tokens", "exceed")
# Added to the logits of answers: more than lies between any two tokens, and still exact in float32.
_BIAS = 100
# What reading JSON of another shape than the API's raises.
MISSHAPEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
# No request has more tokens, and sums of as many stay within SQLite's 64 bits.
_MOST_TOKENS = (1 << 31) - 1


class NoLogprobs(Exception):
    """None of the answers to choose from is among the log-probabilities that came."""


@dataclass(frozen=True, slots=True)
class ApiQuirks:
    """How one server wants to be asked for one model.

    Args:
        model: the name that it serves.
        extra: goes into every request, over what stands there; null takes a key out that a server does not know.
        listed, chat_listed: log-probabilities to ask for after a plain or a chat prompt.
        echoed: tokens that it must write at least when it echoes.
        max_tokens: what it calls the number of tokens to write in chat.
        biases: raises the answers to choose from above all other tokens by their text, and lists probabilities after
            that (llama.cpp's ``logit_bias`` with ``post_sampling_probs``), so that no answer is ever unlisted.
    """

    model: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    listed: int = 0
    chat_listed: int = 0
    echoed: int = 1
    max_tokens: str = "max_tokens"
    biases: bool = False

    def listing(self, prompt: Prompt) -> int:
        """Log-probabilities to ask for after this prompt."""
        return self.listed if isinstance(prompt, str) else self.chat_listed


def path(prompt: Prompt) -> str:
    """Where a prompt goes, below the server's ``/v1``."""
    return "/completions" if isinstance(prompt, str) else "/chat/completions"


def body(request: Request, quirks: ApiQuirks) -> dict[str, Any]:
    """What is sent for a request."""
    if isinstance(request, Completion):
        return _addressed(request.prompt, quirks, _sampling(request))
    if isinstance(request, Choice):
        number = quirks.listing(request.prompt)
        plain = isinstance(request.prompt, str)
        listed: dict[str, Any] = {"logprobs": number} if plain else {"logprobs": True, "top_logprobs": number}
        sampling = _raised(request.answers) if quirks.biases else {"temperature": 0.0}
        return _addressed(request.prompt, quirks, {"max_tokens": 1, **sampling, **listed})
    if not isinstance(request.prompt, str):
        raise NotCapable("only the continuation of a plain prompt can be scored")
    echo = {"max_tokens": quirks.echoed, "temperature": 0.0, "echo": True, "logprobs": 1}
    return _addressed(request.prompt + request.continuation, quirks, echo)


def _raised(answers: Sequence[str]) -> dict[str, Any]:
    """Sampling from the answers alone, all raised by the same, so that what is between them stays."""
    whole = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    return whole | {"logit_bias": [[answer, _BIAS] for answer in answers], "post_sampling_probs": True}


def _addressed(prompt: Prompt, quirks: ApiQuirks, more: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"model": quirks.model, **more, **quirks.extra}
    found = {key: value for key, value in found.items() if value is not None}
    if isinstance(prompt, str):
        return found | {"prompt": prompt}
    if "max_tokens" in found:
        found[quirks.max_tokens] = found.pop("max_tokens")
    return found | {"messages": [{"role": role, "content": content} for role, content in prompt]}


def _sampling(request: Completion) -> dict[str, Any]:
    found: dict[str, Any] = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed % _SEEDS,
    }
    if request.temperature > 0:
        found |= {"top_p": request.top_p} if request.top_p < 1 else {}
        found |= {"top_k": request.top_k} if request.top_k else {}
    return found | ({"stop": list(request.stop)} if request.stop else {})


def first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first choice of an answer, with ``usage`` beside it."""
    return dict(answer["choices"][0]) | {"usage": answer.get("usage") or {}}


def count(value: Any, name: str) -> int:
    """A number of tokens as a server states it; 0 where it states none.

    Raises:
        ValueError: it is not a number of tokens: a budget would be counted with it.
    """
    number = int(value or 0)
    if not 0 <= number <= _MOST_TOKENS:
        raise ValueError(f"{name} is {str(number)[:24]}, expected a number of tokens from 0 to {_MOST_TOKENS}")
    return number


def usage(choice: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens read and written."""
    found = choice["usage"]
    read, written = "prompt_tokens", "completion_tokens"
    return count(found.get(read), read), count(found.get(written), written)


def completed(request: Completion, choice: Mapping[str, Any]) -> Result:
    """The text of an answer, cut at the stops; failed when a content filter withheld it."""
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        return Failed("engine_filtered", "the server's content filter withheld the answer", *usage(choice))
    text = choice["text"] if isinstance(request.prompt, str) else choice["message"]["content"]
    text = "" if text is None else text
    if not isinstance(text, str):
        raise TypeError(f"the text is of type {type(text).__name__}, expected str")
    text, stopped = cut_at_stop(text, request.stop)
    return Completed(text, "stop" if stopped or reason != "length" else "length", *usage(choice))


def chosen(found: Mapping[str, float], request: Choice, tops: Mapping[str, float], tokens: tuple[int, int]) -> Chosen:
    """Probabilities of the answers, an answer that is not listed getting the smallest that is.

    Args:
        found: answer to its log-probability, for those that have one.
        tops: token to log-probability, as listed.
        tokens: read and written for this.

    Raises:
        NoLogprobs: no answer has a log-probability.
        ValueError: the log-probabilities are infinite or not numbers.
    """
    if not found:
        raise NoLogprobs(f"none of the answers is among the {len(tops)} most likely tokens")
    floor = min(min(tops.values()), *found.values()) if len(found) < len(request.answers) else 0.0
    top = max(found.values())
    weights = [math.exp(found.get(answer, floor) - top) for answer in request.answers]
    if not all(map(math.isfinite, (top, *weights))):
        raise ValueError("a log-probability is infinite or not a number")
    return Chosen(tuple(weight / sum(weights) for weight in weights), *tokens)


def scored(request: Scoring, choice: Mapping[str, Any]) -> Scored:
    """The likelihood of the continuation in an echoed prompt.

    Raises:
        EngineError: the continuation is empty.
        ValueError: the echo does not hold the continuation, or a log-probability is not finite.
    """
    if not request.continuation:
        raise EngineError("an empty continuation cannot be scored")
    start_of, whole = len(request.prompt), len(request.prompt) + len(request.continuation)
    found = choice["logprobs"]
    # What was written after the echo starts where the echo ends.
    tokens = [
        logprob
        for start, logprob in zip(found["text_offset"], found["token_logprobs"], strict=True)
        if start_of <= start < whole
    ]
    if not tokens:
        raise ValueError("the echo holds no token of the continuation")
    tokens = tokens[: request.max_tokens] if request.max_tokens else tokens
    return Scored(finite(sum(tokens)), len(tokens), usage(choice)[0])


def finite(log_likelihood: float) -> float:
    """A log-likelihood that can be calculated with.

    Raises:
        ValueError: it is infinite or not a number.
    """
    if not math.isfinite(log_likelihood):
        raise ValueError(f"the log-likelihood is {log_likelihood}, expected a finite number")
    return float(log_likelihood)


def tops(choice: Mapping[str, Any], prompt: Prompt) -> dict[str, float]:
    """Log-probability by token text at the first written position."""
    found = choice.get("logprobs") or {}
    if isinstance(prompt, str) and found.get("top_logprobs"):
        first = found["top_logprobs"][0]
        return dict(first) if isinstance(first, dict) else {top["token"]: top["logprob"] for top in first}
    # llama.cpp answers /completions in the shape of chat.
    content = found.get("content") or []
    if not content:
        return {}
    entries = content[0].get("top_logprobs") or content[0].get("top_probs") or []
    return {entry["token"]: _logprob(entry) for entry in [*entries, content[0]]}


def _logprob(entry: Mapping[str, Any]) -> float:
    return float(entry["logprob"]) if "logprob" in entry else math.log(max(float(entry["prob"]), 1e-45))


def matched(answers: Sequence[str], listed: Mapping[str, float]) -> dict[str, float]:
    """Answers to the log-probability of the longest listed token that each starts with, as far as there is one.

    Raises:
        NotCapable: two answers start with the same token, so their first tokens cannot tell them apart.
    """
    # A blank token begins every answer after a space and says nothing of any.
    starts = {
        answer: max((token for token in listed if token.strip() and answer.startswith(token)), key=len, default=None)
        for answer in answers
    }
    known = [start for start in starts.values() if start is not None]
    for answer, start in starts.items():
        if start is not None and known.count(start) > 1:
            other = next(a for a, t in starts.items() if t == start and a != answer)
            raise NotCapable(f"the answers {answer!r} and {other!r} start with the same token {start!r} on this server")
    return {answer: listed[start] for answer, start in starts.items() if start is not None}


def why_refused(message: str) -> str:
    """The reason, one of ``engines.FAILURES``, for which a request was called invalid."""
    return "engine_too_long" if any(word in message.lower() for word in _TOO_LONG) else "engine_refused"


def said(value: Any) -> str:
    """The message in the shapes that servers give errors: OpenAI's, TGI's, FastAPI's."""
    try:
        return _said(value)
    except RecursionError:
        return "(an object that is nested too deeply to show)"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        code = value.get("code") or value.get("error_type") or value.get("type")
        for name in ("error", "message", "detail", "errors"):
            if value.get(name):
                text = _said(value[name])
                return f"{text} ({code})" if isinstance(code, str) and code not in text else text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
