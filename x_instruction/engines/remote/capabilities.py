"""Probe the capabilities of an OpenAI-compatible server, with requests of one token each."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from x_instruction.engines.remote.endpoints import Endpoint
from x_instruction.engines.remote.http import Client, RequestRejected, RetriesExhausted, Unreachable, unanswered
from x_instruction.engines.remote.openai_protocol import MALFORMED, messages, thinking
from x_instruction.errors import EngineError

# Numbers of log-probabilities to try: llama.cpp accepts any, vLLM and hosted chat 20, hosted completions 5.
_LOGPROBS = (100, 20, 5, 1)
# Some servers answer an unknown parameter with a 500, so retrying for long is useless.
_RETRIES = 3
_CHAT = (("system", "Answer with one word."), ("user", "Say yes."))
# The route does not exist, so no other form of a request will be accepted.
_NO_ROUTE = ("404 ", "405 ")
_CHECK_ADDRESS = "check the address, and that it is an OpenAI-compatible server"


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """What a server supports for one model.

    Args:
        models: names of the models that the server lists; may be empty.
        completions: accepts plain prompts.
        chat: accepts chat prompts.
        logprobs, chat_logprobs: number of log-probabilities that it returns after a plain or a chat prompt; 0 for none.
        echo: returns log-probabilities of the prompt.
        echo_tokens: minimum of ``max_tokens`` when the prompt is echoed.
        max_tokens: name of the key for the number of new tokens in chat.
        system_role: accepts a system message; Gemma 2's chat template refuses one.
        thinking_switch: accepts ``chat_template_kwargs``, with which thinking is turned off.
        context: maximum of prompt tokens and output tokens, if the server reports it.
        owner: the server software that it reports, such as ``vllm``.
        notes: the server's error messages about what it does not support, by capability.
    """

    models: tuple[str, ...] = ()
    completions: bool = False
    chat: bool = False
    logprobs: int = 0
    chat_logprobs: int = 0
    echo: bool = False
    echo_tokens: int = 1
    max_tokens: str = "max_tokens"
    system_role: bool = True
    thinking_switch: bool = False
    context: int | None = None
    owner: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def capabilities(self) -> frozenset[str]:
        """A subset of ``complete``, ``choose`` and ``score``."""
        supported = {
            "complete": self.completions or self.chat,
            "choose": self.logprobs or self.chat_logprobs or self.echo,
            "score": self.echo,
        }
        return frozenset(name for name, yes in supported.items() if yes)

    def why_not(self, capability: str) -> str:
        """Why a capability is missing, with the server's error message if there was one."""
        reason = {
            "complete": "it takes neither plain nor chat prompts",
            "choose": "it returns no log-probabilities",
            "score": "it does not echo a prompt's log-probabilities",
        }[capability]
        note = self.notes.get(capability)
        return f"{reason} (its answer: {note!r})" if note else reason


def probe(client: Client, model: str, extra: Mapping[str, Any]) -> ServerCapabilities:
    """Find out what the server supports for a model.

    Args:
        client: connects to the server.
        model: the served name of the model.
        extra: keys that are added to every request.

    Raises:
        EngineError: the server cannot be reached, does not serve the model, rejects the key, or completes nothing.
    """
    listing = client.connect(partial(_serving, client, model))
    models = tuple(str(entry.get("id", "")) for entry in listing)
    entry = next((entry for entry in listing if entry.get("id") == model), {})
    notes: dict[str, str] = {}
    probes = _Probes(client, {"model": model, "temperature": 0.0, **extra}, notes)
    try:
        completions, logprobs, echo, echo_tokens = probes.plain()
        chat = probes.chat()
    except MALFORMED as error:
        raise EngineError(
            f"{client.url} does not answer in the format of OpenAI's API ({type(error).__name__} {error}): "
            f"{_CHECK_ADDRESS}"
        ) from None
    if not completions and chat is None:
        note = notes.get("complete") or "nothing"
        raise EngineError(f"{client.url} completes no prompt of {model!r}: it answered {note!r}")
    return ServerCapabilities(
        models=models,
        completions=completions,
        chat=chat is not None,
        logprobs=logprobs,
        echo=echo,
        echo_tokens=echo_tokens,
        **(chat or {}),
        context=context(entry),
        owner=str(entry.get("owned_by", "")),
        notes=notes,
    )


def list_models(client: Client) -> list[dict[str, Any]]:
    """The server's list of models. Appends ``/v1`` to the client's address if it is missing.

    Raises:
        EngineError: the server cannot be reached, rejects the key, or returns no list.
    """
    return client.connect(partial(_listing, client))


async def _serving(client: Client, model: str, endpoint: Endpoint) -> list[dict[str, Any]]:
    """The list of models of an endpoint.

    Raises:
        EngineError: as ``list_models``, or the model is not in the list.
    """
    listing = await _listing(client, endpoint)
    models = [str(entry.get("id", "")) for entry in listing]
    if models and model not in models:
        close = difflib.get_close_matches(model, models, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        shown = ", ".join(models[:5]) + (", …" if len(models) > 5 else "")
        raise EngineError(f"{endpoint.url} serves no model {model!r}{hint} (it serves: {shown})")
    return listing


async def _listing(client: Client, endpoint: Endpoint) -> list[dict[str, Any]]:
    first: EngineError | None = None
    given = endpoint.url
    for suffix in ("",) if given.endswith("/v1") else ("/v1", ""):
        endpoint.url = given + suffix
        try:
            answer = await client.get(endpoint, "/models")
        except RequestRejected as error:
            # The server is there but does not implement the list.
            if error.status >= 500:
                return []
            message = f"{endpoint.url}/models answers {error.status} {error.message}: {_CHECK_ADDRESS}"
            first = first or EngineError(message)
            continue
        except Unreachable:
            endpoint.url = given
            raise
        entries = answer.get("data") if isinstance(answer, dict) else None
        if isinstance(entries, list):
            return [entry for entry in entries if isinstance(entry, dict)]
        first = first or EngineError(f"{endpoint.url}/models does not return a list of models: {_CHECK_ADDRESS}")
    endpoint.url = given
    assert first is not None
    raise first


def context(entry: Mapping[str, Any]) -> int | None:
    """Maximum of prompt tokens and output tokens in an entry of the list of models, if it is there."""
    meta = entry.get("meta")
    tokens = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return tokens if isinstance(tokens, int) else None


class _Probes:
    """The probes of one token each. Error messages of the server are collected in ``notes``."""

    def __init__(self, client: Client, body: dict[str, Any], notes: dict[str, str]) -> None:
        self.client = client
        self.body = body
        self.notes = notes

    def plain(self) -> tuple[bool, int, bool, int]:
        """Plain prompts: whether accepted, number of log-probabilities, whether echoed, and ``max_tokens`` for it."""
        logprobs = 0
        for number in _LOGPROBS:
            choice = self._post("/completions", "choose", prompt="1 2 3", max_tokens=1, logprobs=number)
            if choice is not None and choice.get("logprobs"):
                logprobs = number
                break
        if not logprobs and self._post("/completions", "complete", prompt="1 2 3", max_tokens=1) is None:
            return False, 0, False, 1
        for echo_tokens in (0, 1) if logprobs else ():
            choice = self._post("/completions", "score", prompt="1 2 3", max_tokens=echo_tokens, logprobs=1, echo=True)
            echo = (choice or {}).get("logprobs") or {}
            if len(echo.get("token_logprobs") or ()) - echo_tokens > 1 and echo.get("text_offset"):
                return True, logprobs, True, echo_tokens
        return True, logprobs, False, 1

    def chat(self) -> dict[str, Any] | None:
        """What is known of chat prompts, as fields of ``ServerCapabilities``; None if they are not accepted.

        The first accepted form is used: with a system message or without, with a switch for thinking or without.
        """
        switches = (False,) if "chat_template_kwargs" in self.body else (True, False)
        for name in ("max_tokens", "max_completion_tokens"):
            for thinking_switch, system_role in itertools.product(switches, (True, False)):
                body: dict[str, Any] = {"messages": messages(_CHAT, system_role)}
                body |= thinking(False) if thinking_switch else {}
                if self._post("/chat/completions", "complete", **body, **{name: 1}) is not None:
                    return {
                        "chat_logprobs": self._chat_logprobs({**body, name: 1}),
                        "max_tokens": name,
                        "system_role": system_role,
                        "thinking_switch": thinking_switch,
                    }
                if self.notes.get("complete", "").startswith(_NO_ROUTE):
                    return None
        return None

    def _chat_logprobs(self, body: Mapping[str, Any]) -> int:
        for number in _LOGPROBS:
            choice = self._post("/chat/completions", "choose", **body, logprobs=True, top_logprobs=number)
            if choice is not None and (choice.get("logprobs") or {}).get("content"):
                return number
        return 0

    def _post(self, path: str, capability: str, **parameters: Any) -> dict[str, Any] | None:
        """The first choice of the answer; None if the server does not support the request.

        A failure that passes must not look like that: later requests would have another form, and other answers.

        Raises:
            EngineError: the server does not answer in time.
        """
        for _ in range(2):
            try:
                answer = self.client.run(self.client.post(path, self.body | parameters, retries=_RETRIES))
            except RequestRejected as error:
                self.notes[capability] = f"{error.status} {error.message}"
                return None
            except RetriesExhausted as error:
                if error.failed.reason == "engine_timeout":
                    raise unanswered(self.client, error) from None
                self.notes[capability] = error.failed.message
                if error.status or error.failed.reason == "engine_bad_answer":
                    return None
                # Some servers answer an unknown parameter by closing the connection. A network does so, too.
                continue
            choices = answer.get("choices") if isinstance(answer, dict) else None
            if isinstance(choices, list) and choices and isinstance(choices[0], dict):
                return choices[0]
        return None
