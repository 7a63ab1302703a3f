"""A server that speaks enough OpenAI to write and rate instructions, its answers a function of the request alone.

``reply`` answers without any server, so a batch file is answered by the same lines as live requests are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from engines.serving import Serving

# Both stages ask the model; "fi" and "th" have three shards each.
RECIPE = """
name = "test"
languages = ["fi", "th"]
corpus = {{ source = "sample", shard_size = 5 }}
diversify = {{ embedder = "embedded", quota = 8 }}

[generate]
candidates = 2
max_tokens = 32
passage_tokens = 64
min_chars = 1
model = {{ name = "test/model", {model} }}

[refine]
rater = "prompted"
response_tokens = 64
model = {{ name = "test/model", {model} }}
"""

_VERBS = ("cook", "grow", "repair", "paint", "carry", "plant", "wash", "sell", "measure", "store")
_THINGS = ("rice", "beans", "boats", "roofs", "maps", "goats", "drums", "letters", "nets", "lamps")
MODEL = "test/model"


def write_recipe(path: Path, url: str = "") -> Path:
    """A recipe that asks a server, or without an address by files."""
    model = f'engine = "openai", server = {{ url = "{url}", retries = 1 }}' if url else 'engine = "batch"'
    path.write_text(RECIPE.format(model=model), "utf-8")
    return path


def reply(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of the model."""
    asked = body.get("prompt") or body["messages"]
    draw = hashlib.sha256(json.dumps([asked, body.get("seed")]).encode()).digest()
    text = f"How does one {_VERBS[draw[0] % 10]} {_THINGS[draw[1] % 10]} in the year {draw[2] + 1700}?"
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if path.endswith("/chat/completions"):
        choice["message"] = {"role": "assistant", "content": text}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": "3", "logprob": -0.5, "top_logprobs": _levels(draw)}]}
    else:
        choice["text"] = text.removeprefix("How")
        if body.get("logprobs"):
            choice["logprobs"] = {"top_logprobs": [{f" {t['token']}": t["logprob"] for t in _levels(draw)}]}
    usage = {"prompt_tokens": len(json.dumps(asked)) // 4, "completion_tokens": 10}
    return {"object": "completion", "choices": [choice], "usage": usage}


def _levels(draw: bytes) -> list[dict[str, Any]]:
    weights = [1 + draw[8 + level] for level in range(5)]
    return [
        {"token": str(level + 1), "logprob": math.log(weight / sum(weights))} for level, weight in enumerate(weights)
    ]


class OpenAIServer:
    """The server, in a thread of its own, for ``with``.

    Args:
        fault: looks at a request's path and body; what it returns (status and JSON or text) is answered instead.
        key: the expected key.
        models: names that it lists.
        port: to listen on; 0 for a free one.
    """

    def __init__(
        self,
        fault: Callable[[str, dict[str, Any]], tuple[int, Any] | None] = lambda path, body: None,
        key: str = "",
        models: tuple[str, ...] = (MODEL,),
        port: int = 0,
    ) -> None:
        self.fault = fault
        self.key = key
        self.models = models
        self.port = port
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __enter__(self) -> OpenAIServer:
        application = web.Application(client_max_size=1 << 24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._serving = Serving(application, self.port)
        self.url = f"{self._serving.address}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.close()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.body_exists else {}
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "Incorrect API key provided"}}, status=401)
        if (found := self.fault(request.path, body)) is not None:
            status, content = found
            return (
                web.json_response(content, status=status)
                if isinstance(content, dict)
                else web.Response(text=content, status=status, content_type="text/html")
            )
        if request.path == "/v1/models":
            listed = [{"id": name, "owned_by": "test", "max_model_len": 4096} for name in self.models]
            return web.json_response({"object": "list", "data": listed})
        if request.path not in ("/v1/completions", "/v1/chat/completions"):
            return web.json_response({"detail": "Not Found"}, status=404)
        self.asked.append((request.path, body))
        return web.json_response(reply(request.path, body))
