"""The tgi engine: Text Generation Inference through its own API.

Its OpenAI-compatible API has no ``top_k``, ``best_of``, adapters or log-probabilities of the prompt, so prompts go to
``/generate``. ``/info`` reports the server's limits, and requests are reduced to them.

- *choose* restricts the first token to the answers with a grammar and reads the most likely tokens;
- *score* reads the log-probabilities of the prompt (``decoder_input_details``); ``/tokenize`` tells where the
  continuation starts.

Chat prompts are rendered by ``/chat_tokenize`` and sent to ``/generate`` too, if that gives exactly the tokens of the
template: ``/generate`` adds the tokenizer's special tokens, so a leading one is removed from the rendered text. With a
template that does not start with the special token that the tokenizer adds (such as Zephyr's) this is impossible; its
prompts go to ``/v1/chat/completions``, which adds none.
"""

from __future__ import annotations

import json
import re
from typing import Any

from x_instruction.config.model import Model
from x_instruction.engines import (
    Choice,
    Completion,
    Failed,
    Prompt,
    Request,
    Result,
    Scored,
    Scoring,
    required_capability,
)
from x_instruction.engines.remote import openai_protocol, tgi_protocol, tgi_server
from x_instruction.engines.remote.engine import RemoteEngine
from x_instruction.engines.remote.http import Client, RequestRejected, RetriesExhausted
from x_instruction.engines.truncation import truncator
from x_instruction.errors import EngineError, NotCapable

# Upper bound of the special tokens that a tokenizer adds to a prompt.
_SPECIAL_TOKENS = 8
# Parameters of /generate that /v1/chat/completions also has, with their names there.
_CHAT_PARAMETERS = {"frequency_penalty": "frequency_penalty", "grammar": "response_format"}


class TgiEngine(RemoteEngine):
    """A model behind a Text Generation Inference server."""

    def __init__(self, settings: Model) -> None:
        self.settings = settings
        self.extra: dict[str, Any] = json.loads(settings.server.extra_body or "{}")
        tgi_protocol.check_extra(self.extra)
        self.client = Client(settings.server)
        self.truncate = truncator(settings.server.tokenizer)
        self.limits = tgi_server.limits(self.client, self._check_model)
        self.client.endpoints.lower_ceiling(self.limits.concurrent)
        self.server = tgi_server.TgiServer(self.client, settings.adapter)
        self.probed = tgi_server.probe(self.server)
        self.model = settings.name
        self.revision = self.limits.commit or f"served:{settings.revision}"
        self.capabilities = self.probed.capabilities
        self.chat = bool(self.probed.chat)

    def _check_model(self, limits: tgi_protocol.Limits, url: str) -> None:
        name, revision = self.settings.name, self.settings.revision
        if name != limits.model:
            raise EngineError(f"{url} serves the model {limits.model!r}, but the recipe names {name!r}: set name to it")
        commit = limits.commit
        if commit and re.fullmatch("[0-9a-f]{40}", revision) and revision != commit:
            raise EngineError(
                f"{url} serves {name} at commit {commit}, but the recipe names {revision}: set revision to it"
            )
        first: tgi_protocol.Limits = getattr(self, "limits", limits)
        if commit != first.commit:
            raise EngineError(f"{url} serves {name} at commit {commit}, but another endpoint at {first.commit}")

    def _check(self, request: Request) -> None:
        needed = required_capability(request)
        url = self.client.url
        if needed not in self.capabilities:
            raise NotCapable(f"this server cannot {needed}: {self.probed.why_not(needed)} ({url})")
        if isinstance(request.prompt, str):
            if needed == "choose" and not self.probed.logprobs and "score" not in self.capabilities:
                raise NotCapable(f"this server cannot choose: {self.probed.why_not(needed)} ({url})")
            return
        if not self.chat:
            raise NotCapable(f"{self.model} has no chat template on this server ({url}): use a plain prompt")
        if self.probed.chat == "routed":
            self._check_routed(request)

    def _check_routed(self, request: Request) -> None:
        """Check a request for /v1/chat/completions, which supports less than /generate."""
        missing = []
        if isinstance(request, Scoring) or (isinstance(request, Choice) and not self.probed.chat_logprobs):
            missing.append("the log-probabilities that this needs")
        if isinstance(request, Completion):
            missing += ["top_k (set it to 0)"] if request.top_k else []
            missing += ["streaming (set server.stream = false)"] if self.settings.server.stream else []
            missing += sorted(
                name for name in self.extra if self.extra[name] is not None and name not in _CHAT_PARAMETERS
            )
        if missing:
            raise NotCapable(
                f"chat prompts of {self.model} can only go to {self.client.url}/v1/chat/completions, which does not "
                f"support {', '.join(missing)}: use a plain prompt"
            )

    async def _answer(self, request: Request) -> Result:
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
            return self.client.rejected(error, tgi_protocol.rejection_reason(error.status, error.message))
        except openai_protocol.NoLogprobs as error:
            raise RetriesExhausted("engine_bad_answer", str(error)) from None
        except openai_protocol.MALFORMED as error:
            raise RetriesExhausted("engine_bad_answer", openai_protocol.malformed(error)) from None

    async def _complete(self, request: Completion) -> Result:
        if self._is_routed(request.prompt):
            max_tokens = await self._max_tokens_routed(request.prompt, request.max_tokens)
            body = {**self._routed(request), "max_tokens": max_tokens}
            return openai_protocol.completed(request, await self.server.chat(body))
        text, tokens = await self._text(request.prompt)
        max_tokens = await self._max_tokens(text, request.max_tokens, tokens)
        parameters = {**tgi_protocol.sampling(request, self.limits, self.extra), "max_new_tokens": max_tokens}
        stream = self.settings.server.stream and "best_of" not in parameters
        answer, headers = await self.server.generate(text, parameters, stream)
        return tgi_protocol.completed(request, answer, headers, max_tokens)

    async def _choose(self, request: Choice) -> Result:
        matched: dict[str, float] = {}
        logprobs: dict[str, float] = {}
        tokens = (0, 0)
        if self._is_routed(request.prompt):
            # Raises if the prompt does not fit.
            await self._max_tokens_routed(request.prompt, 1)
            choice = await self.server.chat(self._routed(request))
            logprobs, tokens = openai_protocol.top_logprobs(choice, request.prompt), openai_protocol.usage(choice)
            matched = openai_protocol.match_answers(request.answers, logprobs)
            return openai_protocol.chosen(matched, request, logprobs, tokens)
        text, prompt_tokens = await self._text(request.prompt)
        await self._max_tokens(text, 1, prompt_tokens)
        can_score = "score" in self.capabilities
        if self.probed.logprobs:
            parameters = {"max_new_tokens": 1, "top_n_tokens": self.probed.logprobs}
            grammar = {"grammar": tgi_protocol.only(request.answers)} if self.probed.grammar else {}
            answer, headers = await self.server.generate(text, parameters | grammar)
            logprobs, tokens = tgi_protocol.top_logprobs(answer), tgi_protocol.tokens(answer, headers)
            # With scores to fall back on, answers with the same first token are no error.
            matched = (tgi_protocol if can_score else openai_protocol).match_answers(request.answers, logprobs)
        if len(matched) < len(request.answers) and can_score:
            # One after the other: the limiter counts this request as one.
            scores = [await self._scored(text, answer, 0) for answer in request.answers]
            matched = {a: score.log_likelihood for a, score in zip(request.answers, scores, strict=True)}
            read, written = (sum(getattr(s, name) for s in scores) for name in ("prompt_tokens", "output_tokens"))
            tokens = (tokens[0] + read, tokens[1] + written)
        return openai_protocol.chosen(matched, request, logprobs, tokens)

    async def _score(self, request: Scoring) -> Scored:
        text, _ = await self._text(request.prompt)
        return await self._scored(text, request.continuation, request.max_tokens)

    async def _scored(self, text: str, continuation: str, max_tokens: int) -> Scored:
        if not continuation:
            raise EngineError("an empty continuation cannot be scored")
        whole = text + continuation
        tokens = await self.server.tokenize(whole)
        # Raises if the text does not fit.
        self.limits.max_new_tokens(len(tokens), 1)
        answer, _ = await self.server.generate(whole, {"max_new_tokens": 1, "decoder_input_details": True})
        start = len(text) if self.probed.unit == "characters" else _bytes(text)
        return tgi_protocol.scored(tokens, answer, start, max_tokens)

    def _messages(self, prompt: Prompt) -> list[dict[str, str]]:
        return openai_protocol.messages(prompt, self.probed.system_role)

    def _is_routed(self, prompt: Prompt) -> bool:
        return not isinstance(prompt, str) and self.probed.chat == "routed"

    def _routed(self, request: Completion | Choice) -> dict[str, Any]:
        """The body for /v1/chat/completions, whose parameters have other ranges than those of /generate."""
        # Without a temperature this route samples.
        body: dict[str, Any] = {"messages": self._messages(request.prompt), "temperature": 0.0}
        if isinstance(request, Choice):
            body |= {"max_tokens": 1, "logprobs": True, "top_logprobs": self.probed.chat_logprobs}
            return body | ({"response_format": tgi_protocol.only(request.answers)} if self.probed.grammar else {})
        given = {name: value for name, value in self.extra.items() if value is not None}
        sampling = tgi_protocol.sampling(request, self.limits, dict.fromkeys(self.extra.keys() - given.keys()))
        body |= {name: sampling[name] for name in ("temperature", "top_p", "seed", "stop") if name in sampling}
        return body | {_CHAT_PARAMETERS[name]: value for name, value in given.items()}

    async def _text(self, prompt: Prompt) -> tuple[str, int | None]:
        """The text for /generate, and its number of tokens if it is known."""
        if isinstance(prompt, str):
            return prompt, None
        text, tokens = await self.server.render(self._messages(prompt))
        return text.removeprefix(self.probed.bos), len(tokens)

    async def _max_tokens(self, text: str, requested: int, tokens: int | None = None) -> int:
        """How many of the requested tokens fit after a text. The server counts tokens only where they might not fit.

        Raises:
            TooLong: none.
        """
        # A token has at least one byte.
        bound = _bytes(text) + _SPECIAL_TOKENS
        if tokens is None and bound <= self.limits.prompt and bound + requested <= self.limits.total:
            return requested
        if tokens is None and self.probed.counts:
            tokens = len(await self.server.tokenize(text))
        if tokens is None:
            return self.limits.max_after_longest(requested)
        return self.limits.max_new_tokens(tokens, requested)

    async def _max_tokens_routed(self, prompt: Prompt, requested: int) -> int:
        """The same for a chat prompt on /v1/chat/completions."""
        if isinstance(prompt, str) or not self.probed.renders:
            return self.limits.max_after_longest(requested)
        return self.limits.max_new_tokens(len((await self.server.render(self._messages(prompt)))[1]), requested)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
