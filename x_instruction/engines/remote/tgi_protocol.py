"""Text Generation Inference's own protocol: build the parameters of a request, and parse an answer.

Pure functions that follow the server's API description (``docs/openapi.json`` of version 3.3.6).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from x_instruction.engines import Completed, Completion, Scored
from x_instruction.engines.remote import openai_protocol
from x_instruction.engines.remote.sse import events
from x_instruction.engines.truncation import cut_at_stop
from x_instruction.errors import EngineError, NotCapable

# Maximum number of stop strings in the API description; a server's own limit may be lower.
_MAX_STOPS = 4
_SEEDS = (1 << 63) - 1
# The server reads 32-bit floats and rejects 0 and 1: closer to them than this, a number may be rounded to them.
_EPSILON = 1e-6
# Parameters that the engine sets itself; extra_body must not.
RESERVED = frozenset({"details", "decoder_input_details", "return_full_text", "max_new_tokens", "adapter_id", "stop"})
# The HTTP status by error type, for errors inside a stream, whose own status is 200.
_STATUSES = {
    **dict.fromkeys(("validation", "template_error", "missing_template_variable", "tool_error"), 422),
    "generation": 424,
    "overloaded": 429,
    "healthcheck": 503,
}


class TooLong(Exception):
    """A prompt is too long for the server's limits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A server's model and limits, from ``/info``.

    Args:
        model: id or path of the model.
        commit: the model's commit on the Hub; empty if unknown.
        prompt, total: maximum tokens of a prompt, and of a prompt with its answer.
        stops: maximum number of stop strings per request.
        best_of: maximum of ``best_of``.
        concurrent: maximum number of concurrent requests.
    """

    model: str
    commit: str
    prompt: int
    total: int
    stops: int
    best_of: int
    concurrent: int

    def max_new_tokens(self, tokens: int, requested: int) -> int:
        """How many of the requested tokens fit after a prompt of this many tokens.

        Raises:
            TooLong: none.
        """
        if tokens > self.prompt or tokens >= self.total:
            raise TooLong(
                f"the prompt has {tokens} tokens, the server accepts {self.prompt}, and {self.total} with the answer"
            )
        return min(requested, self.total - tokens)

    def max_after_longest(self, requested: int) -> int:
        """How many of the requested tokens fit after any accepted prompt, for a prompt of unknown length."""
        return min(requested, max(1, self.total - self.prompt))


def limits(info: Any) -> Limits:
    """Parse the answer of ``/info``.

    Raises:
        ValueError: the answer is not from Text Generation Inference.
    """
    if not isinstance(info, dict) or not all(isinstance(info.get(k), t) for k, t in _INFO.items()):
        raise ValueError(f"/info has no {', '.join(_INFO)}")
    total, commit = info["max_total_tokens"], info.get("model_sha")

    def number(name: str, default: int) -> int:
        value = info.get(name)
        return value if isinstance(value, int) and value >= 0 else default

    return Limits(
        model=info["model_id"],
        commit=commit if isinstance(commit, str) else "",
        # Versions before 2 call it max_input_length.
        prompt=number("max_input_tokens", number("max_input_length", total - 1)),
        total=total,
        stops=min(_MAX_STOPS, number("max_stop_sequences", _MAX_STOPS)),
        best_of=max(1, number("max_best_of", 1)),
        concurrent=max(1, number("max_concurrent_requests", 1)),
    )


_INFO = {"model_id": str, "max_total_tokens": int}


def common_parameters(adapter: str | None) -> dict[str, Any]:
    """The parameters of every request."""
    parameters: dict[str, Any] = {"details": True, "decoder_input_details": False, "return_full_text": False}
    return parameters | ({"adapter_id": adapter} if adapter else {})


def sampling(request: Completion, limits: Limits, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling parameters in the ranges that the server accepts.

    Args:
        request: the request.
        limits: the server's limits.
        extra: parameters of the recipe, which override the request's; null removes one.
    """
    best_of = min(int(extra.get("best_of") or 1), limits.best_of)
    parameters: dict[str, Any] = {"do_sample": request.temperature > 0 or best_of > 1}
    if parameters["do_sample"]:
        parameters["seed"] = 1 + request.seed % _SEEDS
        parameters |= {"temperature": max(request.temperature, _EPSILON)} if request.temperature > 0 else {}
        parameters |= {"top_p": max(request.top_p, _EPSILON)} if request.top_p < 1 - _EPSILON else {}
        parameters |= {"top_k": request.top_k} if request.top_k > 0 else {}
    parameters |= {"stop": list(request.stop[: limits.stops])} if request.stop and limits.stops else {}
    parameters |= extra
    parameters.pop("best_of", None)
    if best_of > 1:
        # The server draws one seed per sequence and rejects a given one.
        parameters.pop("seed", None)
        parameters["best_of"] = best_of
    return {name: value for name, value in parameters.items() if value is not None}


def check_extra(extra: Mapping[str, Any]) -> None:
    """Reject parameters of ``server.extra_body`` that cannot work.

    Raises:
        EngineError: names the parameter.
    """
    if reserved := sorted(RESERVED & extra.keys()):
        raise EngineError(f"server.extra_body sets {', '.join(reserved)}, which engine = 'tgi' sets itself: remove it")
    best_of = extra.get("best_of") if extra.get("best_of") is not None else 1
    if not isinstance(best_of, int) or isinstance(best_of, bool) or best_of < 1:
        raise EngineError(f"server.extra_body sets best_of to {best_of!r}, expected an integer of 1 or more")


def only(answers: Sequence[str]) -> dict[str, str]:
    """A grammar that allows exactly these answers."""
    escaped = (re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", answer) for answer in answers)
    return {"type": "regex", "value": f"({'|'.join(escaped)})"}


async def last_event(chunks: AsyncIterator[bytes]) -> tuple[int, bytes]:
    """The final event of a stream, with the status that it would have as a plain response.

    Raises:
        ConnectionError: the stream ends without a final event.
    """
    async for event in events(chunks):
        try:
            value = json.loads(event)
        except (ValueError, RecursionError):
            return 200, event.encode()
        if isinstance(value, dict) and "error" in value:
            return _STATUSES.get(str(value.get("error_type")), 500), event.encode()
        if not isinstance(value, dict) or value.get("generated_text") is not None:
            return 200, event.encode()
    raise ConnectionResetError("the stream ended before its last event")


def tokens(answer: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, int]:
    """Prompt tokens and output tokens, over all sequences of ``best_of``."""
    details = answer.get("details") or {}
    read = details.get("input_length") or headers.get("x-prompt-tokens") or len(details.get("prefill") or ())
    written = details.get("generated_tokens") or headers.get("x-generated-tokens") or 0
    others = [other["generated_tokens"] for other in details.get("best_of_sequences") or ()]
    return openai_protocol.count(read, "input_length"), sum(
        openai_protocol.count(number, "generated_tokens") for number in (written, *others)
    )


def completed(request: Completion, answer: Mapping[str, Any], headers: Mapping[str, str], max_tokens: int) -> Completed:
    """The text of an answer up to the first stop string, which the server includes.

    Args:
        request: the request.
        answer: the answer of ``/generate``.
        headers: its headers, which have the token counts in some versions.
        max_tokens: the ``max_new_tokens`` that were requested.
    """
    if not isinstance(answer["generated_text"], str):
        raise TypeError(f"generated_text is of type {type(answer['generated_text']).__name__}, expected str")
    text, stopped = cut_at_stop(answer["generated_text"], request.stop)
    details = answer.get("details") or {}
    read, written = tokens(answer, headers)
    reason = details.get("finish_reason") or ("length" if written >= max_tokens else "stop")
    return Completed(text, "length" if reason == "length" and not stopped else "stop", read, written)


def top_logprobs(answer: Mapping[str, Any]) -> dict[str, float]:
    """Log-probability by token text, at the first generated position; tokens that the grammar forbids have none."""
    details = answer["details"]
    logprobs: dict[str, float] = {}
    for top in [*(details.get("top_tokens") or [[]])[0], *details["tokens"][:1]]:
        if top["logprob"] is not None and not top["special"]:
            # Two tokens can have the same text; the more likely one is what the model would generate.
            logprobs[top["text"]] = max(top["logprob"], logprobs.get(top["text"], -math.inf))
    return logprobs


def match_answers(answers: Sequence[str], logprobs: Mapping[str, float]) -> dict[str, float]:
    """For each answer the log-probability of its first token; empty if two answers share the first token."""
    try:
        return openai_protocol.match_answers(answers, logprobs)
    except NotCapable:
        return {}


def scored(tokenized: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], start: int, max_tokens: int) -> Scored:
    """The log-likelihood of a prompt from a given offset on.

    Args:
        tokenized: the prompt's tokens from ``/tokenize``.
        answer: the answer of ``/generate``, with log-probabilities of the prompt.
        start: where the continuation starts, in the unit of the tokens' offsets. A token across it is scored too.
        max_tokens: maximum number of tokens to score; 0 for all.

    Raises:
        ValueError: the two answers have different tokens, none is of the continuation, or a token has no
            log-probability.
    """
    prefill = answer["details"]["prefill"]
    if [token["id"] for token in tokenized] != [token["id"] for token in prefill]:
        raise ValueError("/tokenize and /generate split the prompt into different tokens")
    values = [read["logprob"] for token, read in zip(tokenized, prefill, strict=True) if token["stop"] > start]
    if values and values[0] is None and tokenized[0]["stop"] > start:
        # The first token of a prompt has no context and so no probability.
        values = values[1:]
    if not values:
        raise ValueError("/tokenize returns no token of the continuation")
    values = values[:max_tokens] if max_tokens else values
    written = openai_protocol.count(answer["details"]["generated_tokens"], "generated_tokens")
    return Scored(openai_protocol.finite(sum(map(float, values))), len(values), len(prefill), written)


def rejection_reason(status: int, message: str) -> str:
    """The key of ``engines.FAILURES`` for a rejected request, by the server's status and message."""
    too_long = status == 413 or "must have less than" in message or "`max_new_tokens` must be <=" in message
    return "engine_too_long" if too_long else "engine_refused"
