"""The openai engine: any server that speaks OpenAI's API (vLLM, TGI's /v1, llama.cpp, SGLang, hosted ones).

What a server can do is found out before the first record is spent: a few requests of one token each. How requests and
answers look stands in ``wire``. Probabilities come from listed log-probabilities:

- *score* lets the server echo the prompt with its log-probabilities (``echo``, ``/completions`` only);
- *choose* reads the log-probabilities of the first answered token, one request of one token. When an answer is not
  among those listed, or is more than one token, all are scored where the server can; else the first token of each
  counts, and an answer that is not listed gets the smallest that is. llama.cpp is made to list the answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from x_instruction.config.model import Model
from x_instruction.engines import (
    Batch,
    Choice,
    Completion,
    Request,
    Result,
    Scored,
    Scoring,
    always,
    required_capability,
    single_batch,
)
from x_instruction.engines.remote import openai_protocol
from x_instruction.engines.remote.capabilities import Abilities, probe
from x_instruction.engines.remote.http import Client, RequestRejected, RetriesExhausted
from x_instruction.engines.truncation import truncator
from x_instruction.errors import EngineError, NotCapable


class OpenAIEngine:
    """A model behind a server that speaks OpenAI's API."""

    def __init__(self, settings: Model) -> None:
        if settings.adapter:
            raise EngineError("a server serves an adapter under a name of its own: give that as the model's name")
        self.settings = settings
        self.extra: dict[str, Any] = json.loads(settings.server.extra_body or "{}")
        self.client = Client(settings.server)
        self.truncate = truncator(settings.server.tokenizer)
        self.abilities: Abilities = probe(self.client, settings.name, self.extra)
        self.quirks = openai_protocol.ApiQuirks(
            settings.name,
            self.extra,
            self.abilities.listed,
            self.abilities.chat_listed,
            self.abilities.echoed,
            self.abilities.max_tokens,
            biases=self.abilities.owner == "llamacpp",
        )
        self.model = settings.name
        self.revision = f"served:{settings.revision}"
        self.capabilities = self.abilities.verbs
        self.chat = self.abilities.chat

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """One batch: the server mixes requests as it likes.

        Raises:
            NotCapable: the server cannot take prompts or requests of this kind.
        """
        self._check(requests[0])
        return single_batch(requests)

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Answers as they come, as many requests under way as the server takes well."""
        return self.client.each(requests, self._one, should_continue)

    def _check(self, request: Request) -> None:
        wanted = required_capability(request)
        url = self.client.url
        if wanted not in self.capabilities:
            raise NotCapable(f"this server cannot {wanted}: {self.abilities.why(wanted)} ({url})")
        if isinstance(request.prompt, str) and not self.abilities.completions:
            raise NotCapable(f"this server only takes chat prompts ({url} has no /completions): use a chat prompt")
        if not isinstance(request.prompt, str) and not self.chat:
            raise NotCapable(f"{self.model} has no chat template on this server ({url}): use a plain prompt")

    async def _one(self, request: Request) -> Result:
        try:
            if isinstance(request, Completion):
                return openai_protocol.completed(request, await self._send(request))
            if isinstance(request, Choice):
                return await self._choose(request)
            return await self._score(request)
        except RequestRejected as error:
            if error.status in (401, 403, 404, 405):
                raise EngineError(f"{self.client.url} answers {error.status} {error.message}") from None
            return self.client.refused(error, openai_protocol.why_refused(error.message))
        except openai_protocol.NoLogprobs as error:
            raise RetriesExhausted("engine_bad_answer", str(error)) from None
        except openai_protocol.MISSHAPEN as error:
            raise RetriesExhausted(
                "engine_bad_answer", f"the answer has another shape: {type(error).__name__} {error}"
            ) from None

    async def _send(self, request: Request) -> Mapping[str, Any]:
        """The first choice of an answer, with ``usage`` beside it."""
        answer = await self.client.post(
            openai_protocol.path(request.prompt), openai_protocol.body(request, self.quirks)
        )
        return openai_protocol.first_choice(answer)

    async def _choose(self, request: Choice) -> Result:
        tops: dict[str, float] = {}
        tokens = (0, 0)
        if self.quirks.listing(request.prompt):
            choice = await self._send(request)
            tokens = openai_protocol.usage(choice)
            tops = openai_protocol.tops(choice, request.prompt)
        if (
            not isinstance(request.prompt, str)
            or "score" not in self.capabilities
            or tops.keys() >= set(request.answers)
        ):
            return openai_protocol.chosen(openai_protocol.matched(request.answers, tops), request, tops, tokens)
        # An answer of several tokens, or an unlikely one: its whole likelihood is exact.
        scores = await asyncio.gather(*(self._score(Scoring(request.prompt, a)) for a in request.answers))
        found = dict(zip(request.answers, (score.log_likelihood for score in scores), strict=True))
        return openai_protocol.chosen(
            found, request, tops, (tokens[0] + sum(s.prompt_tokens for s in scores), tokens[1])
        )

    async def _score(self, request: Scoring) -> Scored:
        return openai_protocol.scored(request, await self._send(request))
