"""Text Generation Inference's own wire format: what is sent for a request, and what an answer means.

Pure functions after the server's API description (``docs/openapi.json`` of version 3.3.6).
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

# The description allows so many stops, whatever a server's own limit is.
_STOPS = 4
_SEEDS = (1 << 63) - 1
# The server reads 32-bit floats, in which less than this off 0 or 1 may be 0 or 1, which it refuses.
_FINE = 1e-6
# What the engine needs as it is, so that no recipe may set it.
OURS = frozenset({"details", "decoder_input_details", "return_full_text", "max_new_tokens", "adapter_id", "stop"})
# Statuses of the errors that come as an event of a stream, which itself is a 200.
_STATUSES = {
    **dict.fromkeys(("validation", "template_error", "missing_template_variable", "tool_error"), 422),
    "generation": 424,
    "overloaded": 429,
    "healthcheck": 503,
}


class TooLong(Exception):
    """A prompt leaves no room for an answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What ``/info`` says of a server: its model, and how much it takes.

    Args:
        model: id or path of the model.
        commit: the model's commit on the Hub; empty when it is not known.
        prompt, total: tokens of a prompt, of a prompt with its answer.
        stops: stop sequences in one request.
        best_of: sequences to write for one request.
        concurrent: requests at once.
    """

    model: str
    commit: str
    prompt: int
    total: int
    stops: int
    best_of: int
    concurrent: int

    def room(self, tokens: int, wanted: int) -> int:
        """How many tokens may be written after a prompt.

        Raises:
            TooLong: none.
        """
        if tokens > self.prompt or tokens >= self.total:
            raise TooLong(
                f"the prompt has {tokens} tokens; the server takes {self.prompt}, and {self.total} with the answer"
            )
        return min(wanted, self.total - tokens)

    def sure(self, wanted: int) -> int:
        """How many tokens may be written when nobody counts the prompt's: what fits after the longest one."""
        return min(wanted, max(1, self.total - self.prompt))


def limits(info: Any) -> Limits:
    """The limits in an answer of ``/info``.

    Raises:
        ValueError: this is no answer of Text Generation Inference.
    """
    if not isinstance(info, dict) or not all(isinstance(info.get(k), t) for k, t in _INFO.items()):
        raise ValueError(f"/info says nothing of {', '.join(_INFO)}")
    total = info["max_total_tokens"]

    def number(name: str, default: int) -> int:
        found = info.get(name)
        return found if isinstance(found, int) and found >= 0 else default

    return Limits(
        model=info["model_id"],
        commit=info.get("model_sha") or "",
        # Servers before version 2 have another name for it.
        prompt=number("max_input_tokens", number("max_input_length", total - 1)),
        total=total,
        stops=min(_STOPS, number("max_stop_sequences", _STOPS)),
        best_of=max(1, number("max_best_of", 1)),
        concurrent=max(1, number("max_concurrent_requests", 1)),
    )


_INFO = {"model_id": str, "max_total_tokens": int}


def adapted(adapter: str | None) -> dict[str, Any]:
    """The parameters of every request."""
    found: dict[str, Any] = {"details": True, "decoder_input_details": False, "return_full_text": False}
    return found | ({"adapter_id": adapter} if adapter else {})


def sampling(request: Completion, limits: Limits, extra: Mapping[str, Any]) -> dict[str, Any]:
    """How to write, in the ranges that the server takes.

    Args:
        extra: the recipe's parameters, which go over the request's; null takes one out.
    """
    best_of = min(int(extra.get("best_of") or 1), limits.best_of)
    found: dict[str, Any] = {"do_sample": request.temperature > 0 or best_of > 1}
    if found["do_sample"]:
        found["seed"] = 1 + request.seed % _SEEDS
        found |= {"temperature": max(request.temperature, _FINE)} if request.temperature > 0 else {}
        found |= {"top_p": max(request.top_p, _FINE)} if request.top_p < 1 - _FINE else {}
        found |= {"top_k": request.top_k} if request.top_k > 0 else {}
    found |= {"stop": list(request.stop[: limits.stops])} if request.stop and limits.stops else {}
    found |= extra
    found.pop("best_of", None)
    if best_of > 1:
        # Each sequence has a seed of its own, which the server draws.
        found.pop("seed", None)
        found["best_of"] = best_of
    return {name: value for name, value in found.items() if value is not None}


def check_extra(extra: Mapping[str, Any]) -> None:
    """Refuse parameters of a recipe that cannot work.

    Raises:
        EngineError: says which.
    """
    if wrong := sorted(OURS & extra.keys()):
        raise EngineError(f"server.extra_body sets {', '.join(wrong)}, which the engine tgi sets itself")
    best_of = extra.get("best_of") if extra.get("best_of") is not None else 1
    if not isinstance(best_of, int) or isinstance(best_of, bool) or best_of < 1:
        raise EngineError(f"server.extra_body sets best_of to {best_of!r}, wanted a number from 1")


def only(answers: Sequence[str]) -> dict[str, str]:
    """A grammar that allows only these answers."""
    escaped = (re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", answer) for answer in answers)
    return {"type": "regex", "value": f"({'|'.join(escaped)})"}


async def last_event(chunks: AsyncIterator[bytes]) -> tuple[int, bytes]:
    """The event of a stream that ends it, with the status that it would have had on its own.

    Raises:
        ConnectionError: the stream ends without one.
    """
    async for event in events(chunks):
        try:
            found = json.loads(event)
        except (ValueError, RecursionError):
            return 200, event.encode()
        if isinstance(found, dict) and "error" in found:
            return _STATUSES.get(str(found.get("error_type")), 500), event.encode()
        if not isinstance(found, dict) or found.get("generated_text") is not None:
            return 200, event.encode()
    raise ConnectionResetError("the stream ended before its last event")


def tokens(answer: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, int]:
    """Tokens read and written, all sequences of ``best_of`` counted."""
    details = answer.get("details") or {}
    read = details.get("input_length") or headers.get("x-prompt-tokens") or len(details.get("prefill") or ())
    written = details.get("generated_tokens") or headers.get("x-generated-tokens") or 0
    others = [other["generated_tokens"] for other in details.get("best_of_sequences") or ()]
    return openai_protocol.count(read, "input_length"), sum(
        openai_protocol.count(number, "generated_tokens") for number in (written, *others)
    )


def completed(request: Completion, answer: Mapping[str, Any], headers: Mapping[str, str], wanted: int) -> Completed:
    """The text of an answer, cut at the stops, which the server leaves in.

    Args:
        wanted: tokens that it was asked for.
    """
    if not isinstance(answer["generated_text"], str):
        raise TypeError("generated_text is no text")
    text, stopped = cut_at_stop(answer["generated_text"], request.stop)
    details = answer.get("details") or {}
    read, written = tokens(answer, headers)
    reason = details.get("finish_reason") or ("length" if written >= wanted else "stop")
    return Completed(text, "length" if reason == "length" and not stopped else "stop", read, written)


def tops(answer: Mapping[str, Any]) -> dict[str, float]:
    """Log-probability by token text at the first written position; a token that the grammar forbids has none."""
    details = answer["details"]
    found: dict[str, float] = {}
    for top in [*(details.get("top_tokens") or [[]])[0], *details["tokens"][:1]]:
        if top["logprob"] is not None and not top["special"]:
            # Two tokens can have one text; the likelier is the one that the model writes.
            found[top["text"]] = max(top["logprob"], found.get(top["text"], -math.inf))
    return found


def matched(answers: Sequence[str], listed: Mapping[str, float]) -> dict[str, float]:
    """Answers to the log-probability of their first token; none when two of them share it."""
    try:
        return openai_protocol.matched(answers, listed)
    except NotCapable:
        return {}


def scored(found: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], start: int, max_tokens: int) -> Scored:
    """The likelihood of what starts somewhere in a prompt.

    Args:
        found: the prompt's tokens by ``/tokenize``.
        answer: of ``/generate`` with the prompt's log-probabilities.
        start: in the unit of the tokens' offsets. A token across it belongs to what starts there.
        max_tokens: so many tokens at most; 0 for all.

    Raises:
        ValueError: the two speak of different tokens, or a token has no probability.
    """
    prefill = answer["details"]["prefill"]
    if [token["id"] for token in found] != [token["id"] for token in prefill]:
        raise ValueError("/tokenize and /generate split the prompt into different tokens")
    values = [read["logprob"] for token, read in zip(found, prefill, strict=True) if token["stop"] > start]
    if values and values[0] is None and found[0]["stop"] > start:
        # Nothing stands before the very first token, so nothing can tell its probability.
        values = values[1:]
    if not values:
        raise EngineError("an empty continuation cannot be scored")
    values = values[:max_tokens] if max_tokens else values
    written = openai_protocol.count(answer["details"]["generated_tokens"], "generated_tokens")
    return Scored(openai_protocol.finite(sum(map(float, values))), len(values), len(prefill), written)


def why_refused(status: int, message: str) -> str:
    """The reason, one of ``engines.FAILURES``, for which a request was called invalid."""
    too_long = status == 413 or "must have less than" in message or "`max_new_tokens` must be <=" in message
    return "engine_too_long" if too_long else "engine_refused"
