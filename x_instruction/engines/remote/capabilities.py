"""Finding out what an OpenAI-compatible server can do, by asking it for one token at a time."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from x_instruction.engines.remote.http import Client, RequestRejected, RetriesExhausted
from x_instruction.engines.remote.openai_protocol import MISSHAPEN
from x_instruction.errors import EngineError

# Log-probabilities to ask for, in turn: llama.cpp lists any number, vLLM and hosted chat 20, hosted completions 5.
_LISTS = (100, 20, 5, 1)
# A server may fail with a 500 on what it does not know: that need not be tried for long.
_RETRIES = 1
_RIGHT = "is the address right, is it an OpenAI-compatible server?"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server can do with one model.

    Args:
        models: names that the server lists; empty when it lists none.
        completions: takes plain prompts.
        chat: takes chat prompts.
        listed, chat_listed: log-probabilities that it lists after a plain or a chat prompt; 0 for none.
        echoes: gives log-probabilities of the prompt.
        echoed: tokens that it must write at least when it echoes.
        max_tokens: what it calls the number of tokens to write in chat.
        context: tokens that a prompt and its answer may have, where the server says so.
        owner: who it says it is, such as ``vllm``.
        notes: what it said of what it cannot do, by verb or path.
    """

    models: tuple[str, ...] = ()
    completions: bool = False
    chat: bool = False
    listed: int = 0
    chat_listed: int = 0
    echoes: bool = False
    echoed: int = 1
    max_tokens: str = "max_tokens"
    context: int | None = None
    owner: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def verbs(self) -> frozenset[str]:
        """Which of ``complete``, ``choose`` and ``score`` it can do."""
        found = {"complete"} if self.completions or self.chat else set()
        found |= {"choose"} if self.listed or self.chat_listed or self.echoes else set()
        return frozenset(found | ({"score"} if self.echoes else set()))

    def why(self, verb: str) -> str:
        """Why a verb is missing, in the server's words where it said something."""
        plain = {
            "complete": "it takes neither plain nor chat prompts",
            "choose": "it lists no log-probabilities",
            "score": "it does not echo a prompt's log-probabilities",
        }
        said = self.notes.get(verb)
        return f"{plain[verb]}, and said {said!r}" if said else plain[verb]


def probe(client: Client, model: str, extra: Mapping[str, Any]) -> Abilities:
    """What the server can do with a model.

    Raises:
        EngineError: it cannot be reached, knows no such model, wants another key, or answers nothing.
    """
    listing = served(client)
    models = tuple(str(entry.get("id", "")) for entry in listing)
    if models and model not in models:
        close = difflib.get_close_matches(model, models, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        shown = ", ".join(models[:5]) + (", …" if len(models) > 5 else "")
        raise EngineError(f"{client.url} serves no model {model!r}{hint} (it serves: {shown})")
    entry = next((entry for entry in listing if entry.get("id") == model), {})
    notes: dict[str, str] = {}
    ask = _Asking(client, {"model": model, "temperature": 0.0, **extra}, notes)
    try:
        completions, listed, echoes, echoed = ask.plain()
        chat, chat_listed, max_tokens = ask.chat()
    except MISSHAPEN as error:
        raise EngineError(
            f"{client.url} answers in another shape than OpenAI's API ({type(error).__name__} {error}); {_RIGHT}"
        ) from None
    if not completions and not chat:
        said = notes.get("complete") or "nothing"
        raise EngineError(f"{client.url} completes no prompt of {model!r}: it said {said!r}")
    return Abilities(
        models=models,
        completions=completions,
        chat=chat,
        listed=listed,
        chat_listed=chat_listed,
        echoes=echoes,
        echoed=echoed,
        max_tokens=max_tokens,
        context=context(entry),
        owner=str(entry.get("owned_by", "")),
        notes=notes,
    )


def served(client: Client) -> list[dict[str, Any]]:
    """The server's list of models; its address may lack the ``/v1`` at the end.

    Raises:
        EngineError: it cannot be reached, wants another key, or gives no list.
    """
    first: EngineError | None = None
    given = client.url
    for end in ("",) if given.endswith("/v1") else ("/v1", ""):
        client.url = given + end
        try:
            answer = client.now(client.get("/models"))
        except RequestRejected as error:
            if error.status >= 500:
                return []
            first = first or EngineError(_wrong(client, error))
            continue
        entries = answer.get("data") if isinstance(answer, dict) else None
        if isinstance(entries, list):
            return [entry for entry in entries if isinstance(entry, dict)]
        first = first or EngineError(f"{client.url}/models answers something else than a list of models: {_RIGHT}")
    client.url = given
    assert first is not None
    raise first


def context(entry: Mapping[str, Any]) -> int | None:
    """Tokens that a prompt and its answer may have, where the list of models says so."""
    meta = entry.get("meta")
    found = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return found if isinstance(found, int) else None


def _wrong(client: Client, error: RequestRejected) -> str:
    return f"{client.url}/models answers {error.status} {error.message}; {_RIGHT}"


class _Asking:
    """The probes, each one token; what a server refuses is noted."""

    def __init__(self, client: Client, body: dict[str, Any], notes: dict[str, str]) -> None:
        self.client = client
        self.body = body
        self.notes = notes

    def plain(self) -> tuple[bool, int, bool, int]:
        """Whether it takes plain prompts, the log-probabilities it lists, whether it echoes, and at how many tokens."""
        listed = 0
        for number in _LISTS:
            choice = self._post("/completions", "choose", prompt="1 2 3", max_tokens=1, logprobs=number)
            if choice is not None and choice.get("logprobs"):
                listed = number
                break
        if not listed and self._post("/completions", "complete", prompt="1 2 3", max_tokens=1) is None:
            return False, 0, False, 1
        for echoed in (0, 1) if listed else ():
            choice = self._post("/completions", "score", prompt="1 2 3", max_tokens=echoed, logprobs=1, echo=True)
            found = (choice or {}).get("logprobs") or {}
            if len(found.get("token_logprobs") or ()) - echoed > 1 and found.get("text_offset"):
                return True, listed, True, echoed
        return True, listed, False, 1

    def chat(self) -> tuple[bool, int, str]:
        """Whether it takes chat prompts, how many log-probabilities it lists, what it calls ``max_tokens``."""
        messages = [{"role": "user", "content": "Say yes."}]
        for name in ("max_tokens", "max_completion_tokens"):
            if self._post("/chat/completions", "complete", messages=messages, **{name: 1}) is None:
                continue
            for number in _LISTS:
                wanted = {"logprobs": True, "top_logprobs": number, name: 1}
                choice = self._post("/chat/completions", "choose", messages=messages, **wanted)
                if choice is not None and (choice.get("logprobs") or {}).get("content"):
                    return True, number, name
            return True, 0, name
        return False, 0, "max_tokens"

    def _post(self, path: str, verb: str, **more: Any) -> dict[str, Any] | None:
        try:
            answer = self.client.now(self.client.post(path, self.body | more, retries=_RETRIES))
        except RequestRejected as error:
            self.notes[verb] = f"{error.status} {error.message}"
            return None
        except RetriesExhausted as error:
            self.notes[verb] = error.failed.message
            return None
        choices = answer.get("choices") if isinstance(answer, dict) else None
        return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
