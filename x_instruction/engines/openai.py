"""The openai engine: any server that speaks OpenAI's API (vLLM, TGI's /v1, llama.cpp, SGLang, hosted ones).

What a server can do is found out before the first record is spent: a few requests of one token each. Plain prompts go
to ``/completions``, chat prompts to ``/chat/completions``, in the plain wire format
(https://platform.openai.com/docs/api-reference). Probabilities come from listed log-probabilities:

- *score* lets the server echo the prompt with its log-probabilities (``echo``, ``/completions`` only);
- *choose* reads the log-probabilities of the first answered token, one request of one token. An answer that is not
  among those listed is scored where the server can, and else gets the smallest that is listed.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from x_instruction.engines import (
    Batch,
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
    always,
)
from x_instruction.engines.cutting import clipper, cut
from x_instruction.engines.http import Client, GivenUp, Refused
from x_instruction.engines.probing import Abilities, probe
from x_instruction.errors import EngineError, NotCapable
from x_instruction.recipe import Model

# Servers take 32-bit seeds at least.
_SEEDS = 1 << 31
_TOO_LONG = ("context", "too long", "too large", "maximum length", "max_model_len", "max_tokens", "exceed")


class OpenAIEngine:
    """A model behind a server that speaks OpenAI's API."""

    def __init__(self, settings: Model) -> None:
        self.settings = settings
        self.extra: dict[str, Any] = json.loads(settings.server.extra_body or "{}")
        self.client = Client(settings.server)
        self.clip = clipper(settings.server.tokenizer)
        self.abilities: Abilities = probe(self.client, settings.name, self.extra)
        self.model = settings.name
        self.revision = f"served:{settings.revision}"
        self.can = self.abilities.verbs
        self.chat = self.abilities.chat
        if settings.adapter:
            raise EngineError("a server serves an adapter under a name of its own: give that as the model's name")

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """One batch: the server mixes requests as it likes.

        Raises:
            NotCapable: the server cannot take prompts or requests of this kind.
        """
        self._check(requests[0])
        return [Batch(tuple(range(len(requests))), whole=False)]

    def answer(
        self, requests: Sequence[Request], shared: int = 0, go_on: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Answers as they come, as many requests under way as the server takes well."""
        return self.client.each(requests, self._one, go_on)

    def _check(self, request: Request) -> None:
        verb = {Completion: "complete", Choice: "choose", Scoring: "score"}[type(request)]
        url = self.client.url
        if verb not in self.can:
            raise NotCapable(f"this server cannot {verb}: {self.abilities.why(verb)} ({url})")
        if isinstance(request.prompt, str) and not self.abilities.completions:
            raise NotCapable(f"this server only takes chat prompts ({url} has no /completions): use a chat prompt")
        if not isinstance(request.prompt, str) and not self.chat:
            raise NotCapable(f"{self.model} has no chat template on this server ({url}): use a plain prompt")

    async def _one(self, request: Request) -> Result:
        try:
            if isinstance(request, Completion):
                return await self._complete(request)
            if isinstance(request, Choice):
                return await self._choose(request)
            return await self._score(request)
        except Refused as error:
            if error.status in (401, 403, 404, 405):
                raise EngineError(f"{self.client.url} answers {error.status} {error.message}") from None
            too_long = any(word in error.message.lower() for word in _TOO_LONG)
            return self.client.refused(error, "engine_too_long" if too_long else "engine_refused")
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            # JSON of another shape than the API's.
            raise GivenUp(
                "engine_bad_answer", f"the answer has another shape: {type(error).__name__} {error}"
            ) from None

    async def _send(self, prompt: Prompt, **more: Any) -> Mapping[str, Any]:
        """The first choice of an answer, with ``usage`` beside it."""
        body = {"model": self.settings.name, **more, **self.extra}
        if isinstance(prompt, str):
            answer = await self.client.post("/completions", body | {"prompt": prompt})
        else:
            if "max_tokens" in body:
                body[self.abilities.max_tokens] = body.pop("max_tokens")
            messages = [{"role": role, "content": content} for role, content in prompt]
            answer = await self.client.post("/chat/completions", body | {"messages": messages})
        choice = dict(answer["choices"][0])
        return choice | {"usage": answer.get("usage") or {}}

    async def _complete(self, request: Completion) -> Result:
        more: dict[str, Any] = {
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed % _SEEDS,
        }
        if request.temperature > 0:
            more |= {"top_p": request.top_p} if request.top_p < 1 else {}
            more |= {"top_k": request.top_k} if request.top_k else {}
        if request.stop:
            more["stop"] = list(request.stop)
        choice = await self._send(request.prompt, **more)
        reason = choice.get("finish_reason")
        if reason == "content_filter":
            return Failed("engine_filtered", "the server's content filter withheld the answer", *_usage(choice))
        text = choice["text"] if isinstance(request.prompt, str) else choice["message"]["content"]
        text, stopped = cut(text or "", request.stop)
        return Completed(text, "stop" if stopped or reason != "length" else "length", *_usage(choice))

    async def _choose(self, request: Choice) -> Result:
        plain = isinstance(request.prompt, str)
        listed = self.abilities.listed if plain else self.abilities.chat_listed
        found: dict[str, float] = {}
        prompt_tokens, output_tokens = 0, 0
        if listed:
            more: dict[str, Any] = {"logprobs": listed} if plain else {"logprobs": True, "top_logprobs": listed}
            choice = await self._send(request.prompt, max_tokens=1, temperature=0.0, **more)
            prompt_tokens, output_tokens = _usage(choice)
            tops = _plain_tops(choice) if plain else _chat_tops(choice)
            found = _matched(request.answers, tops)
        if len(found) < len(request.answers) and plain and "score" in self.can:
            scores = await asyncio.gather(*(self._score(Scoring(request.prompt, a)) for a in request.answers))
            found = dict(zip(request.answers, (score.log_likelihood for score in scores), strict=True))
            prompt_tokens += sum(score.prompt_tokens for score in scores)
        if not found:
            raise GivenUp("engine_bad_answer", f"none of the answers is among the {listed} most likely tokens")
        floor = min(min(tops.values()), *found.values()) if len(found) < len(request.answers) else 0.0
        weights = [math.exp(found.get(answer, floor) - max(found.values())) for answer in request.answers]
        return Chosen(tuple(weight / sum(weights) for weight in weights), prompt_tokens, output_tokens)

    async def _score(self, request: Scoring) -> Scored:
        assert isinstance(request.prompt, str)
        whole = request.prompt + request.continuation
        choice = await self._send(whole, max_tokens=self.abilities.echoed, temperature=0.0, echo=True, logprobs=1)
        found = choice["logprobs"]
        # What was written after the echo starts where the echo ends.
        tokens = [
            logprob
            for start, logprob in zip(found["text_offset"], found["token_logprobs"], strict=True)
            if len(request.prompt) <= start < len(whole)
        ]
        if not tokens:
            raise EngineError("an empty continuation cannot be scored")
        tokens = tokens[: request.max_tokens] if request.max_tokens else tokens
        return Scored(float(sum(tokens)), len(tokens), _usage(choice)[0])


def _usage(choice: Mapping[str, Any]) -> tuple[int, int]:
    usage = choice["usage"]
    return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)


def _plain_tops(choice: Mapping[str, Any]) -> dict[str, float]:
    """Log-probability by token text at the first written position."""
    found = choice.get("logprobs") or {}
    if found.get("top_logprobs"):
        first = found["top_logprobs"][0]
        return dict(first) if isinstance(first, dict) else {top["token"]: top["logprob"] for top in first}
    # llama.cpp answers /completions in the shape of chat.
    return _chat_tops(choice)


def _chat_tops(choice: Mapping[str, Any]) -> dict[str, float]:
    content = (choice.get("logprobs") or {}).get("content") or []
    if not content:
        return {}
    tops = {top["token"]: top["logprob"] for top in content[0].get("top_logprobs") or []}
    return tops | {content[0]["token"]: content[0]["logprob"]}


def _matched(answers: Sequence[str], tops: Mapping[str, float]) -> dict[str, float]:
    """Answers to the log-probability of the longest listed token that each starts with.

    Raises:
        NotCapable: two answers start with the same token, so their first tokens cannot tell them apart.
    """
    tokens = {
        answer: max((token for token in tops if token and answer.startswith(token)), key=len, default=None)
        for answer in answers
    }
    known = [token for token in tokens.values() if token is not None]
    for answer, token in tokens.items():
        if token is not None and known.count(token) > 1:
            other = next(a for a, t in tokens.items() if t == token and a != answer)
            raise NotCapable(f"the answers {answer!r} and {other!r} start with the same token {token!r} on this server")
    return {answer: tops[token] for answer, token in tokens.items() if token is not None}
