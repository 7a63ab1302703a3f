"""Asking the tgi engine in tests: how an engine is made, how answers come, what the double answers."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from engines.tgi_double import Double, Scripted, documented

from x_instruction.config.model import Model, Server
from x_instruction.engines import Request, Result
from x_instruction.engines.remote.tgi import TgiEngine

CHAT = (("system", "Be brief."), ("user", "Ask something."))


def make(double: Double | None = None, name: str = "toy", adapter: str | None = None, **settings: Any) -> TgiEngine:
    extra = json.dumps(settings.pop("extra", {}))
    revision = settings.pop("revision", "main")
    settings = {"url": double.url if double else "", "retries": 2, "timeout": 5.0, "extra_body": extra} | settings
    return TgiEngine(Model(name=name, engine="tgi", adapter=adapter, revision=revision, server=Server(**settings)))


def answers(engine: TgiEngine, *requests: Request) -> list[Result]:
    engine.plan(requests)
    found = dict(engine.answer(requests))
    return [found[position] for position in range(len(requests))]


def one(engine: TgiEngine, request: Request) -> Any:
    return answers(engine, request)[0]


def says(status: int, text: str, **more: Any) -> Scripted:
    return lambda body: web.Response(status=status, text=text, **more)


def documented_error(path: str, status: int, message: str | None = None) -> Scripted:
    return lambda body: documented(path, status, message)
