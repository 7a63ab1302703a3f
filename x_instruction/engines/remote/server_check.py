"""Looking at a running server before a recipe names it: who it is, what it serves, what it can do and how fast."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from x_instruction.config.model import Model, Server
from x_instruction.engines import ENGINES, Completion, Failed, Prompt, open_engine
from x_instruction.errors import EngineError

# Engines that ask a server which can be looked at.
SERVED = tuple(name for name, spec in ENGINES.items() if spec.remote and spec.packages)
_VERBS = ("complete", "choose", "score")


@dataclass(frozen=True, slots=True)
class Served:
    """A model that a server lists.

    Args:
        owner: who the server says it is.
        context: tokens that a prompt and its answer may have, where it says so.
    """

    name: str
    owner: str = ""
    context: int | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """What a server can do with one model.

    Args:
        url: the address as it answers, which may be longer than the given one.
        plain, chat: whether it takes prompts of that kind.
        missing: verbs that it cannot do, each with the reason.
        listed: log-probabilities that it lists, from which answers are chosen.
        seconds: that one token took, with everything around it.
    """

    url: str
    plain: bool
    chat: bool
    missing: Mapping[str, str]
    listed: int
    seconds: float


def patient(url: str, key_variable: str) -> Server:
    """Settings to look at a server that somebody is waiting for."""
    return Server(url=url, key_variable=key_variable, timeout=60.0, retries=1, outage_timeout=15.0)


def models(engine: str, server: Server) -> list[Served]:
    """The models that a server lists.

    Raises:
        EngineError: it cannot be reached, wants another key, or is no server of this kind.
    """
    from x_instruction.engines.remote.http import Client

    client = Client(server)
    if engine == "tgi":
        from x_instruction.engines.remote.tgi_server import limits

        found = limits(client)
        return [Served(found.model, "Text Generation Inference", found.total)]
    from x_instruction.engines.remote.capabilities import context, served

    entries = served(client)
    return [Served(str(e.get("id", "")), str(e.get("owned_by") or ""), context(e)) for e in entries if e.get("id")]


def look(engine: str, server: Server, name: str) -> Looked:
    """What a server can do with a model, found out by asking for single tokens.

    Raises:
        EngineError: it cannot be reached, has no such model, or answers nothing.
    """
    opened: Any = open_engine(Model(name=name, engine=engine, server=server))
    capabilities: frozenset[str] = opened.capabilities
    abilities = opened.abilities
    plain = bool(getattr(abilities, "completions", True))
    return Looked(
        url=opened.client.url,
        plain=plain,
        chat=bool(opened.chat),
        missing={verb: abilities.why(verb) for verb in _VERBS if verb not in capabilities},
        listed=max(abilities.listed, abilities.chat_listed),
        seconds=_one_token(opened, "Say yes." if plain else (("user", "Say yes."),)),
    )


def _one_token(engine: Any, prompt: Prompt) -> float:
    request = Completion(prompt, max_tokens=1)
    started = time.monotonic()
    answers = [answer for _, answer in engine.answer([request])]
    if not answers or isinstance(answers[0], Failed):
        said = answers[0].message if answers else "nothing"
        raise EngineError(f"{engine.client.url} lists {engine.model} but gives no token: {said}")
    return time.monotonic() - started
