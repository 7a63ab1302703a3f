"""The tgi engine: Text Generation Inference by its own API.

Its OpenAI-compatible API lacks ``top_k``, ``best_of``, adapters and a prompt's log-probabilities, so prompts go to
``/generate``. What the server takes stands in ``/info`` and requests are cut to it.

- *choose* holds the first token to the answers by a grammar and reads the most likely tokens;
- *score* reads the log-probabilities of the prompt (``decoder_input_details``); ``/tokenize`` says where the
  continuation starts.

Chat prompts are rendered by ``/chat_tokenize`` and sent to ``/generate``, so all of the above holds for them too, as
long as that gives the very tokens that the template asks for: ``/generate`` puts the tokenizer's special tokens in
front, so a leading one is taken off. A template that starts without one though the tokenizer adds it (Zephyr's) cannot
be sent so; its prompts go to ``/v1/chat/completions``, which adds none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from x_instruction.config.model import Model
from x_instruction.engines import (
    Batch,
    Choice,
    Completion,
    Failed,
    Prompt,
    Request,
    Result,
    Scored,
    Scoring,
    always,
    required_capability,
    single_batch,
)
from x_instruction.engines.remote import openai_protocol, tgi_protocol, tgi_server
from x_instruction.engines.remote.concurrency import ConcurrencyLimiter
from x_instruction.engines.remote.http import Client, RequestRejected, RetriesExhausted
from x_instruction.engines.truncation import truncator
from x_instruction.errors import EngineError, NotCapable

# Tokens that a tokenizer may put around a prompt.
_AROUND = 8
# Parameters of /generate that /v1/chat/completions has too, with its name for them.
_ROUTED = {"frequency_penalty": "frequency_penalty", "grammar": "response_format"}


class TgiEngine:
    """A model behind a Text Generation Inference server."""

    def __init__(self, settings: Model) -> None:
        self.settings = settings
        self.extra: dict[str, Any] = json.loads(settings.server.extra_body or "{}")
        tgi_protocol.check_extra(self.extra)
        self.client = Client(settings.server)
        self.truncate = truncator(settings.server.tokenizer)
        self.limits = tgi_server.limits(self.client)
        self._check_model()
        self.client.throttle = ConcurrencyLimiter(min(settings.server.concurrency, self.limits.concurrent))
        self.server = tgi_server.TgiServer(self.client, settings.adapter)
        self.abilities = tgi_server.probe(self.server)
        self.model = settings.name
        self.revision = self.limits.commit or f"served:{settings.revision}"
        self.capabilities = self.abilities.verbs
        self.chat = bool(self.abilities.chat)

    def _check_model(self) -> None:
        name, revision, url = self.settings.name, self.settings.revision, self.client.url
        if name != self.limits.model:
            raise EngineError(f"{url} serves the model {self.limits.model!r}, and the recipe wants {name!r}")
        commit = self.limits.commit
        if commit and re.fullmatch("[0-9a-f]{40}", revision) and revision != commit:
            raise EngineError(f"{url} serves {name} at commit {commit}, and the recipe wants {revision}")

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
        if isinstance(request.prompt, str):
            if wanted == "choose" and not self.abilities.listed and "score" not in self.capabilities:
                raise NotCapable(f"this server cannot choose: {self.abilities.why(wanted)} ({url})")
            return
        if not self.chat:
            raise NotCapable(f"{self.model} has no chat template on this server ({url}): use a plain prompt")
        if self.abilities.chat == "routed":
            self._check_routed(request)

    def _check_routed(self, request: Request) -> None:
        """The route of OpenAI's API can do less."""
        lacks = []
        if isinstance(request, Scoring) or (isinstance(request, Choice) and not self.abilities.chat_listed):
            lacks.append("log-probabilities of this kind")
        if isinstance(request, Completion):
            lacks += ["top_k (set it to 0)"] if request.top_k else []
            lacks += ["streaming (set server.stream = false)"] if self.settings.server.stream else []
            lacks += sorted(name for name in self.extra if self.extra[name] is not None and name not in _ROUTED)
        if lacks:
            raise NotCapable(
                f"chat prompts of {self.model} can only go to {self.client.url}/v1/chat/completions, which has no "
                f"{', '.join(lacks)}; a plain prompt has"
            )

    async def _one(self, request: Request) -> Result:
        try:
            if isinstance(request, Completion):
                return await self._complete(request)
            if isinstance(request, Choice):
                return await self._choose(request)
            return await self._score(request)
        except tgi_protocol.TooLong as error:
            return Failed("engine_too_long", str(error))
        except RequestRejected as error:
            if error.status in (404, 405):
                raise EngineError(f"{self.client.url} answers {error.status} {error.message}") from None
            return self.client.refused(error, tgi_protocol.why_refused(error.status, error.message))
        except openai_protocol.NoLogprobs as error:
            raise RetriesExhausted("engine_bad_answer", str(error)) from None
        except openai_protocol.MISSHAPEN as error:
            raise RetriesExhausted(
                "engine_bad_answer", f"the answer has another shape: {type(error).__name__} {error}"
            ) from None

    async def _complete(self, request: Completion) -> Result:
        if self._is_routed(request.prompt):
            room = await self._room_routed(request.prompt, request.max_tokens)
            return openai_protocol.completed(
                request, await self.server.chat({**self._routed(request), "max_tokens": room})
            )
        text, tokens = await self._text(request.prompt)
        wanted = await self._room(text, request.max_tokens, tokens)
        parameters = {**tgi_protocol.sampling(request, self.limits, self.extra), "max_new_tokens": wanted}
        stream = self.settings.server.stream and "best_of" not in parameters
        answer, headers = await self.server.generate(text, parameters, stream)
        return tgi_protocol.completed(request, answer, headers, wanted)

    async def _choose(self, request: Choice) -> Result:
        found: dict[str, float] = {}
        tops: dict[str, float] = {}
        tokens = (0, 0)
        if self._is_routed(request.prompt):
            await self._room_routed(request.prompt, 1)
            choice = await self.server.chat(self._routed(request))
            tops, tokens = openai_protocol.tops(choice, request.prompt), openai_protocol.usage(choice)
            return openai_protocol.chosen(openai_protocol.matched(request.answers, tops), request, tops, tokens)
        text, known = await self._text(request.prompt)
        await self._room(text, 1, known)
        if self.abilities.listed:
            parameters = {"max_new_tokens": 1, "top_n_tokens": self.abilities.listed}
            grammar = {"grammar": tgi_protocol.only(request.answers)} if self.abilities.grammar else {}
            answer, headers = await self.server.generate(text, parameters | grammar)
            tops, tokens = tgi_protocol.tops(answer), tgi_protocol.tokens(answer, headers)
            found = (tgi_protocol if "score" in self.capabilities else openai_protocol).matched(request.answers, tops)
        if len(found) < len(request.answers) and "score" in self.capabilities:
            # One after the other, so that requests at once stay as many as the throttle counts.
            scores = [await self._scored(text, answer, 0) for answer in request.answers]
            found = {a: score.log_likelihood for a, score in zip(request.answers, scores, strict=True)}
            read, written = (sum(getattr(s, name) for s in scores) for name in ("prompt_tokens", "output_tokens"))
            tokens = (tokens[0] + read, tokens[1] + written)
        return openai_protocol.chosen(found, request, tops, tokens)

    async def _score(self, request: Scoring) -> Scored:
        text, _ = await self._text(request.prompt)
        return await self._scored(text, request.continuation, request.max_tokens)

    async def _scored(self, text: str, continuation: str, max_tokens: int) -> Scored:
        if not continuation:
            raise EngineError("an empty continuation cannot be scored")
        whole = text + continuation
        tokens = await self.server.tokenize(whole)
        self.limits.room(len(tokens), 1)
        answer, _ = await self.server.generate(whole, {"max_new_tokens": 1, "decoder_input_details": True})
        start = len(text) if self.abilities.unit == "characters" else _bytes(text)
        return tgi_protocol.scored(tokens, answer, start, max_tokens)

    def _is_routed(self, prompt: Prompt) -> bool:
        return not isinstance(prompt, str) and self.abilities.chat == "routed"

    def _routed(self, request: Completion | Choice) -> dict[str, Any]:
        """The body for the route of OpenAI's API; it has ranges of its own for what it takes."""
        # Without a temperature this route samples.
        body: dict[str, Any] = {"messages": _messages(request.prompt), "temperature": 0.0}
        if isinstance(request, Choice):
            body |= {"max_tokens": 1, "logprobs": True, "top_logprobs": self.abilities.chat_listed}
            return body | ({"response_format": tgi_protocol.only(request.answers)} if self.abilities.grammar else {})
        given = {name: value for name, value in self.extra.items() if value is not None}
        sampling = tgi_protocol.sampling(request, self.limits, dict.fromkeys(self.extra.keys() - given.keys()))
        body |= {name: sampling[name] for name in ("temperature", "top_p", "seed", "stop") if name in sampling}
        return body | {_ROUTED[name]: value for name, value in given.items()}

    async def _text(self, prompt: Prompt) -> tuple[str, int | None]:
        """What goes to /generate, and its number of tokens where that is known."""
        if isinstance(prompt, str):
            return prompt, None
        text, tokens = await self.server.render(_messages(prompt))
        return text.removeprefix(self.abilities.bos), len(tokens)

    async def _room(self, text: str, wanted: int, tokens: int | None = None) -> int:
        """How many tokens may be written after a text; the server counts only what may be short of room."""
        most = _bytes(text) + _AROUND
        # No token is less than a byte.
        if tokens is None and most <= self.limits.prompt and most + wanted <= self.limits.total:
            return wanted
        if tokens is None and self.abilities.counts:
            tokens = len(await self.server.tokenize(text))
        return self.limits.sure(wanted) if tokens is None else self.limits.room(tokens, wanted)

    async def _room_routed(self, prompt: Prompt, wanted: int) -> int:
        if isinstance(prompt, str) or not self.abilities.renders:
            return self.limits.sure(wanted)
        return self.limits.room(len((await self.server.render(_messages(prompt)))[1]), wanted)


def _messages(prompt: Prompt) -> list[Mapping[str, str]]:
    assert not isinstance(prompt, str)
    return [{"role": role, "content": content} for role, content in prompt]


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
