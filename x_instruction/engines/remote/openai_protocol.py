"""OpenAI's protocol: build the body of a request, and parse an answer.

Pure functions, shared by live servers and batch files. Plain prompts go to ``/completions``, chat prompts to
``/chat/completions`` (https://platform.openai.com/docs/api-reference).
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
from x_instruction.engines.conversation import without_system
from x_instruction.engines.truncation import cut_at_stop
from x_instruction.errors import EngineError, NotCapable

# Every server accepts a 31-bit seed.
_SEEDS = 1 << 31
# Parts of the messages with which servers reject a prompt that does not fit into the context.
_TOO_LONG = ("context", "too long", "too large", "maximum length", "max_model_len", "max_tokens", "exceed")
# Added to the logits of answers: more than the distance between any two tokens, and still exact in float32.
_BIAS = 100
# Exceptions when parsing JSON that does not have the shape of the API.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
# More than any request has; sums of such numbers still fit into SQLite's 64 bits.
_MAX_TOKENS = (1 << 31) - 1


class NoLogprobs(Exception):
    """The returned log-probabilities contain none of the answers to choose from."""


def malformed(error: Exception) -> str:
    """The message for an answer that does not have the shape of the API."""
    return f"the answer does not have the expected shape: {type(error).__name__} {error}"


@dataclass(frozen=True, slots=True)
class ApiQuirks:
    """How requests to one server for one model differ from the standard.

    Args:
        model: the served name of the model.
        extra: keys that are added to every request and override its own; null removes a key that the server does not
            accept.
        logprobs, chat_logprobs: number of log-probabilities to request after a plain or a chat prompt.
        echo_tokens: minimum of ``max_tokens`` when the prompt is echoed.
        max_tokens: name of the key for the number of new tokens in chat.
        logit_bias: raise the logits of the answers to choose from, so that the server always returns them (llama.cpp's
            ``logit_bias`` by text, with ``post_sampling_probs``).
        system_role: whether the chat template takes a system message. If not, its text goes into the next user message.
        enable_thinking: sent with chat prompts as ``chat_template_kwargs``; None for a server that does not know these.
    """

    model: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    logprobs: int = 0
    chat_logprobs: int = 0
    echo_tokens: int = 1
    max_tokens: str = "max_tokens"
    logit_bias: bool = False
    system_role: bool = True
    enable_thinking: bool | None = None

    def logprobs_after(self, prompt: Prompt) -> int:
        """Number of log-probabilities to request after this prompt."""
        return self.logprobs if isinstance(prompt, str) else self.chat_logprobs


def path(prompt: Prompt) -> str:
    """The route for a prompt, below the server's ``/v1``."""
    return "/completions" if isinstance(prompt, str) else "/chat/completions"


def body(request: Request, quirks: ApiQuirks) -> dict[str, Any]:
    """The JSON body of a request.

    Raises:
        NotCapable: a chat prompt cannot be scored.
    """
    if isinstance(request, Completion):
        return _with_prompt(request.prompt, quirks, _sampling(request))
    if isinstance(request, Choice):
        number = quirks.logprobs_after(request.prompt)
        plain = isinstance(request.prompt, str)
        logprobs: dict[str, Any] = {"logprobs": number} if plain else {"logprobs": True, "top_logprobs": number}
        sampling = _biased(request.answers) if quirks.logit_bias else {"temperature": 0.0}
        return _with_prompt(request.prompt, quirks, {"max_tokens": 1, **sampling, **logprobs})
    if not isinstance(request.prompt, str):
        raise NotCapable("only the continuation of a plain prompt can be scored: use a plain prompt")
    echo = {"max_tokens": quirks.echo_tokens, "temperature": 0.0, "echo": True, "logprobs": 1}
    return _with_prompt(request.prompt + request.continuation, quirks, echo)


def _biased(answers: Sequence[str]) -> dict[str, Any]:
    """Sampling among the answers alone. All get the same bias, which preserves their relative probabilities."""
    unrestricted = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    return unrestricted | {"logit_bias": [[answer, _BIAS] for answer in answers], "post_sampling_probs": True}


def _with_prompt(prompt: Prompt, quirks: ApiQuirks, parameters: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {"model": quirks.model, **parameters}
    if not isinstance(prompt, str) and quirks.enable_thinking is not None:
        merged |= thinking(quirks.enable_thinking)
    merged |= quirks.extra
    merged = {key: value for key, value in merged.items() if value is not None}
    if isinstance(prompt, str):
        return merged | {"prompt": prompt}
    if "max_tokens" in merged:
        merged[quirks.max_tokens] = merged.pop("max_tokens")
    return merged | {"messages": messages(prompt, quirks.system_role)}


def messages(prompt: Prompt, system_role: bool) -> list[dict[str, str]]:
    """A chat prompt as messages of a request."""
    assert not isinstance(prompt, str)
    turns = prompt if system_role else without_system(prompt)
    return [{"role": role, "content": content} for role, content in turns]


def thinking(enabled: bool) -> dict[str, Any]:
    """The key with which vLLM, SGLang and llama.cpp turn thinking on or off, if the chat template has a switch."""
    return {"chat_template_kwargs": {"enable_thinking": enabled, "thinking": enabled}}


def _sampling(request: Completion) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed % _SEEDS,
    }
    # Defaults are left out: some servers do not accept these parameters.
    if request.temperature > 0:
        parameters |= {"top_p": request.top_p} if request.top_p < 1 else {}
        parameters |= {"top_k": request.top_k} if request.top_k else {}
    return parameters | ({"stop": list(request.stop)} if request.stop else {})


def first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first choice of an answer, together with its ``usage``."""
    return dict(answer["choices"][0]) | {"usage": answer.get("usage") or {}}


def count(value: Any, name: str) -> int:
    """A number of tokens that a server reports; 0 if it reports none.

    Raises:
        ValueError: the value is not a plausible number of tokens. It would corrupt the budget.
    """
    number = int(value or 0)
    if not 0 <= number <= _MAX_TOKENS:
        raise ValueError(f"{name} is {str(number)[:24]}, expected a number of tokens from 0 to {_MAX_TOKENS}")
    return number


def usage(choice: Mapping[str, Any]) -> tuple[int, int]:
    """Prompt tokens and output tokens."""
    reported = choice["usage"]
    prompt, output = "prompt_tokens", "completion_tokens"
    return count(reported.get(prompt), prompt), count(reported.get(output), output)


def completed(request: Completion, choice: Mapping[str, Any]) -> Result:
    """The text of an answer up to the first stop string; a failure if a content filter withheld it."""
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        return Failed("engine_filtered", "the server's content filter withheld the answer", *usage(choice))
    text = choice["text"] if isinstance(request.prompt, str) else choice["message"]["content"]
    text = "" if text is None else text
    if not isinstance(text, str):
        raise TypeError(f"the text is of type {type(text).__name__}, expected str")
    text, stopped = cut_at_stop(text, request.stop)
    return Completed(text, "stop" if stopped or reason != "length" else "length", *usage(choice))


def chosen(
    matched: Mapping[str, float], request: Choice, logprobs: Mapping[str, float], tokens: tuple[int, int]
) -> Chosen:
    """Probabilities of the answers. An answer without a log-probability gets the smallest one returned.

    Args:
        matched: log-probability by answer, for answers that have one.
        request: the answers to choose from.
        logprobs: log-probability by token, as returned by the server.
        tokens: prompt tokens and output tokens of this choice.

    Raises:
        NoLogprobs: no answer has a log-probability.
        ValueError: a log-probability is infinite or NaN.
    """
    if not matched:
        raise NoLogprobs(f"none of the answers is among the {len(logprobs)} most likely tokens")
    floor = min(min(logprobs.values()), *matched.values()) if len(matched) < len(request.answers) else 0.0
    top = max(matched.values())
    weights = [math.exp(matched.get(answer, floor) - top) for answer in request.answers]
    if not all(map(math.isfinite, (top, *weights))):
        raise ValueError("a log-probability is infinite or not a number")
    return Chosen(tuple(weight / sum(weights) for weight in weights), *tokens)


def scored(request: Scoring, choice: Mapping[str, Any]) -> Scored:
    """The log-likelihood of the continuation, from an echoed prompt.

    Raises:
        EngineError: the continuation is empty.
        ValueError: the echo does not contain the continuation, or a log-probability is not finite.
    """
    if not request.continuation:
        raise EngineError("an empty continuation cannot be scored")
    begin, end = len(request.prompt), len(request.prompt) + len(request.continuation)
    echo = choice["logprobs"]
    # Tokens generated after the echo start at ``end`` or later.
    tokens = [
        logprob
        for start, logprob in zip(echo["text_offset"], echo["token_logprobs"], strict=True)
        if begin <= start < end
    ]
    if not tokens:
        raise ValueError("the echo contains no token of the continuation")
    tokens = tokens[: request.max_tokens] if request.max_tokens else tokens
    return Scored(finite(sum(tokens)), len(tokens), usage(choice)[0])


def finite(log_likelihood: float) -> float:
    """Check that a log-likelihood is finite.

    Raises:
        ValueError: it is infinite or NaN.
    """
    if not math.isfinite(log_likelihood):
        raise ValueError(f"the log-likelihood is {log_likelihood}, expected a finite number")
    return float(log_likelihood)


def top_logprobs(choice: Mapping[str, Any], prompt: Prompt) -> dict[str, float]:
    """Log-probability by token text, at the first generated position."""
    logprobs = choice.get("logprobs") or {}
    if isinstance(prompt, str) and logprobs.get("top_logprobs"):
        first = logprobs["top_logprobs"][0]
        return dict(first) if isinstance(first, dict) else {top["token"]: top["logprob"] for top in first}
    # llama.cpp answers /completions in the format of chat.
    content = logprobs.get("content") or []
    if not content:
        return {}
    entries = content[0].get("top_logprobs") or content[0].get("top_probs") or []
    return {entry["token"]: _logprob(entry) for entry in [*entries, content[0]]}


def _logprob(entry: Mapping[str, Any]) -> float:
    # llama.cpp returns probabilities after sampling; 1e-45 is the smallest float32, for a probability of 0.
    return float(entry["logprob"]) if "logprob" in entry else math.log(max(float(entry["prob"]), 1e-45))


def match_answers(answers: Sequence[str], logprobs: Mapping[str, float]) -> dict[str, float]:
    """For each answer the log-probability of the longest returned token that it starts with, if there is one.

    Raises:
        NotCapable: two answers start with the same token, so the first token cannot distinguish them.
    """
    # Blank tokens are skipped: an answer with a leading space starts with one whatever its first word is.
    starts = {
        answer: max((token for token in logprobs if token.strip() and answer.startswith(token)), key=len, default=None)
        for answer in answers
    }
    known = [start for start in starts.values() if start is not None]
    for answer, start in starts.items():
        if start is not None and known.count(start) > 1:
            other = next(a for a, t in starts.items() if t == start and a != answer)
            raise NotCapable(f"the answers {answer!r} and {other!r} start with the same token {start!r} on this server")
    return {answer: logprobs[start] for answer, start in starts.items() if start is not None}


def rejection_reason(message: str) -> str:
    """The key of ``engines.FAILURES`` for a rejected request, by the server's message."""
    return "engine_too_long" if any(word in message.lower() for word in _TOO_LONG) else "engine_refused"


def error_message(value: Any) -> str:
    """The message in an error object of OpenAI's, TGI's or FastAPI's format."""
    try:
        return _error_message(value)
    except RecursionError:
        return "(an object that is nested too deeply to show)"


def _error_message(value: Any) -> str:
    if isinstance(value, dict):
        code = value.get("code") or value.get("error_type") or value.get("type")
        for name in ("error", "message", "detail", "errors"):
            if value.get(name):
                text = _error_message(value[name])
                return f"{text} ({code})" if isinstance(code, str) and code not in text else text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
