"""Check a running server before a recipe uses it: its models, its capabilities and its latency."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from x_instruction.config.model import Model, Server
from x_instruction.engines import ENGINES, Completion, Engine, Failed, Prompt, open_engine
from x_instruction.errors import EngineError

# Engines with a server to check; batch files have none.
SERVED = tuple(name for name, spec in ENGINES.items() if spec.remote and spec.packages)
_CAPABILITIES = ("complete", "choose", "score")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that a server lists.

    Args:
        name: the served name.
        owner: the server software that the server reports.
        context: maximum of prompt tokens and output tokens, if the server reports it.
    """

    name: str
    owner: str = ""
    context: int | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a server supports for one model.

    Args:
        url: the address that answers, which may be the given one with ``/v1``.
        plain, chat: whether it accepts plain and chat prompts.
        missing: reason for each capability that it lacks.
        logprobs: number of log-probabilities that it returns, from which answers are chosen.
        seconds: time for one token, HTTP included.
        system_role: whether it accepts a system message; if not, its text goes into the first user message.
        engine: connected to the server.
    """

    url: str
    plain: bool
    chat: bool
    missing: Mapping[str, str]
    logprobs: int
    seconds: float
    system_role: bool
    engine: Engine


def check_settings(url: str, key_variable: str) -> Server:
    """Settings with short time-outs, for an interactive check."""
    return Server(url=url, key_variable=key_variable, timeout=60.0, retries=1, outage_timeout=15.0)


def list_models(engine: str, server: Server) -> list[ServedModel]:
    """The models that a server lists.

    Raises:
        EngineError: the server cannot be reached, rejects the key, or is of another type.
    """
    from x_instruction.engines.remote.http import Client

    client = Client(server)
    if engine == "tgi":
        from x_instruction.engines.remote.tgi_server import limits

        info = limits(client)
        return [ServedModel(info.model, "Text Generation Inference", info.total)]
    from x_instruction.engines.remote import capabilities

    return [
        ServedModel(str(entry.get("id", "")), str(entry.get("owned_by") or ""), capabilities.context(entry))
        for entry in capabilities.list_models(client)
        if entry.get("id")
    ]


def check_model(engine: str, server: Server, name: str) -> CheckResult:
    """Probe what a server supports for a model, with requests of one token each.

    Raises:
        EngineError: the server cannot be reached, does not serve the model, or answers nothing.
    """
    opened: Any = open_engine(Model(name=name, engine=engine, server=server))
    probed = opened.probed
    plain = bool(getattr(probed, "completions", True))
    return CheckResult(
        url=opened.client.url,
        plain=plain,
        chat=bool(opened.chat),
        missing={name: probed.why_not(name) for name in _CAPABILITIES if name not in opened.capabilities},
        logprobs=max(probed.logprobs, probed.chat_logprobs),
        seconds=_one_token(opened, "Say yes." if plain else (("user", "Say yes."),)),
        system_role=probed.system_role,
        engine=opened,
    )


def _one_token(engine: Any, prompt: Prompt) -> float:
    request = Completion(prompt, max_tokens=1)
    started = time.monotonic()
    answers = [answer for _, answer in engine.answer([request])]
    if not answers or isinstance(answers[0], Failed):
        reason = answers[0].message if answers else "no answer"
        raise EngineError(f"{engine.client.url} lists {engine.model} but generates no token: {reason}")
    return time.monotonic() - started
