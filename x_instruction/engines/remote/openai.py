"""The openai engine: any OpenAI-compatible server (vLLM, TGI's /v1, llama.cpp, SGLang, hosted services).

The engine probes the server's capabilities with a few requests of one token before it sends the first record. The form
of requests and answers is in ``openai_protocol``. Probabilities come from the returned log-probabilities:

- *score* has the server echo the prompt with its log-probabilities (``echo``, ``/completions`` only);
- *choose* reads the log-probabilities of the first generated token, in one request of one token. If an answer is not
  among them or has several tokens, all answers are scored if the server can score. Otherwise the first token of each
  answer counts, and an answer without a log-probability gets the smallest one returned. llama.cpp is made to return the
  answers with ``logit_bias``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from x_instruction.config.model import Model
from x_instruction.engines import (
    Choice,
    Completion,
    Request,
    Result,
    Scored,
    Scoring,
    required_capability,
)
from x_instruction.engines.remote import openai_protocol
from x_instruction.engines.remote.capabilities import ServerCapabilities, probe
from x_instruction.engines.remote.engine import RemoteEngine
from x_instruction.engines.remote.http import Client, RequestRejected, RetriesExhausted
from x_instruction.engines.truncation import truncator
from x_instruction.errors import EngineError, NotCapable


class OpenAIEngine(RemoteEngine):
    """A model behind an OpenAI-compatible server."""

    def __init__(self, settings: Model) -> None:
        if settings.adapter:
            raise EngineError("adapter is not supported with engine = 'openai': set name to the adapter's served name")
        self.settings = settings
        self.extra: dict[str, Any] = json.loads(settings.server.extra_body or "{}")
        self.client = Client(settings.server)
        self.truncate = truncator(settings.server.tokenizer)
        self.probed: ServerCapabilities = probe(self.client, settings.name, self.extra)
        self.quirks = openai_protocol.ApiQuirks(
            settings.name,
            self.extra,
            self.probed.logprobs,
            self.probed.chat_logprobs,
            self.probed.echo_tokens,
            self.probed.max_tokens,
            logit_bias=self.probed.owner == "llamacpp",
            system_role=self.probed.system_role,
            enable_thinking=bool(settings.enable_thinking) if self.probed.thinking_switch else None,
        )
        if settings.enable_thinking and not self.probed.thinking_switch and "chat_template_kwargs" not in self.extra:
            raise EngineError(
                f"{self.client.url} does not accept chat_template_kwargs, with which thinking is turned on: remove "
                "enable_thinking"
            )
        self.model = settings.name
        self.revision = f"served:{settings.revision}"
        self.capabilities = self.probed.capabilities
        self.chat = self.probed.chat

    def _check(self, request: Request) -> None:
        needed = required_capability(request)
        url = self.client.url
        if needed not in self.capabilities:
            raise NotCapable(f"this server cannot {needed}: {self.probed.why_not(needed)} ({url})")
        if isinstance(request.prompt, str) and not self.probed.completions:
            raise NotCapable(f"this server only takes chat prompts ({url} has no /completions): use a chat prompt")
        if not isinstance(request.prompt, str) and not self.chat:
            raise NotCapable(f"{self.model} has no chat template on this server ({url}): use a plain prompt")

    async def _answer(self, request: Request) -> Result:
        try:
            if isinstance(request, Completion):
                return openai_protocol.completed(request, await self._send(request))
            if isinstance(request, Choice):
                return await self._choose(request)
            return await self._score(request)
        except RequestRejected as error:
            if error.status in (401, 403, 404, 405):
                raise EngineError(f"{self.client.url} answers {error.status} {error.message}") from None
            return self.client.rejected(error, openai_protocol.rejection_reason(error.message))
        except openai_protocol.NoLogprobs as error:
            raise RetriesExhausted("engine_bad_answer", str(error)) from None
        except openai_protocol.MALFORMED as error:
            raise RetriesExhausted("engine_bad_answer", openai_protocol.malformed(error)) from None

    async def _send(self, request: Request) -> Mapping[str, Any]:
        """The first choice of an answer, together with its ``usage``."""
        answer = await self.client.post(
            openai_protocol.path(request.prompt), openai_protocol.body(request, self.quirks)
        )
        return openai_protocol.first_choice(answer)

    async def _choose(self, request: Choice) -> Result:
        logprobs: dict[str, float] = {}
        tokens = (0, 0)
        if self.quirks.logprobs_after(request.prompt):
            choice = await self._send(request)
            tokens = openai_protocol.usage(choice)
            logprobs = openai_protocol.top_logprobs(choice, request.prompt)
        can_score = isinstance(request.prompt, str) and "score" in self.capabilities
        if not can_score or logprobs.keys() >= set(request.answers):
            matched = openai_protocol.match_answers(request.answers, logprobs)
            return openai_protocol.chosen(matched, request, logprobs, tokens)
        # An answer has several tokens or is unlikely: score all answers, which is exact.
        scores = await asyncio.gather(*(self._score(Scoring(request.prompt, a)) for a in request.answers))
        likelihoods = dict(zip(request.answers, (score.log_likelihood for score in scores), strict=True))
        tokens = (tokens[0] + sum(s.prompt_tokens for s in scores), tokens[1])
        return openai_protocol.chosen(likelihoods, request, logprobs, tokens)

    async def _score(self, request: Scoring) -> Scored:
        return openai_protocol.scored(request, await self._send(request))
