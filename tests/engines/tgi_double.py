"""A server made of Text Generation Inference's description: its routes, its bodies, its errors, and a toy model.

Every request and every answer is checked by the description; what breaks it is kept in ``wrong``.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import regex
from aiohttp import web
from engines import tgi_spec
from engines.serving import Serving

BOS = 1
WORDS = [f"{space}{word}" for space in ("", " ") for word in (*"123456789", "yes", "no", "maybe")] + [" ", "\n", "the"]
# What is answered instead of what the route would: a function of the request's body, or None for the route itself.
Scripted = Callable[[Any], web.StreamResponse] | None


def pieces(text: str) -> list[str]:
    return re.findall(r"<s>| ?[^\W\d_]+| ?\d| ?[^\w\s]|\s|.", text, re.DOTALL)


def number(piece: str) -> int:
    return BOS if piece == "<s>" else 2 + zlib.crc32(piece.encode("utf-8", "surrogatepass")) % 30_000


def logprob(before: list[int], token: int) -> float:
    """Log-probability that the toy model gives a token after others."""
    return -0.01 - zlib.crc32(repr((before[-3:], token)).encode()) % 900 / 100


class Invalid(Exception):
    """A 422 of the server."""


class Double:
    def __init__(self) -> None:
        self.info = tgi_spec.example("Info") | {"model_id": "toy", "max_concurrent_requests": 8}
        self.adds_bos = True
        self.template: str | None = "<s>"
        self.unit = "bytes"
        self.grammar = True
        self.max_top_n = 5
        self.text = "A first line.\nA second line."
        # How streams look.
        self.newline, self.comment, self.chunk = "\n", "", 1 << 16
        self.hold = 0.0
        self.wrong: list[str] = []
        self.seen: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.scripts: dict[str, deque[Scripted]] = {}
        self.always: dict[str, Callable[[Any], web.StreamResponse | None]] = {}
        self.under_way = self.most = 0
        self._start()

    def _start(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        for path, methods in tgi_spec.SPEC["paths"].items():
            for method in methods:
                app.router.add_route(method, path, self._handle)
        self._serving = Serving(app)
        self.url, self.close = self._serving.address, self._serving.close

    # Scripting and inspecting

    def script(self, path: str, *answers: Scripted) -> None:
        """The next answers of a route."""
        self.scripts[path] = deque(answers)

    def bodies(self, path: str) -> list[Any]:
        return [body for seen, body in self.seen if seen == path]

    # Routes

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        self.wrong += [f"request {request.path}: {problem}" for problem in tgi_spec.wrong_request(request, data)]
        body = json.loads(data or b"null")
        self.seen.append((request.path, body))
        self.headers.append(dict(request.headers))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.hold)
            return await self._answer(request, data, body)
        finally:
            self.under_way -= 1

    async def _answer(self, request: web.Request, data: bytes, body: Any) -> web.StreamResponse:
        script = self.scripts.get(request.path)
        scripted = script.popleft() if script else None
        made = scripted(body) if scripted else self.always.get(request.path, lambda _: None)(body)
        if made is not None:
            return made
        try:
            made = self._route(request.path)(body)
        except Invalid as error:
            # As the server does where its description does not say so: /chat_tokenize, and streams, which are a 200.
            body = tgi_spec.errors("/generate")[422] | {"error": f"Input validation error: {error}"}
            self.wrong += [f"error: {problem}" for problem in tgi_spec.wrong_value(body, "ErrorResponse")]
            return in_stream(body) if request.path == "/generate_stream" else web.json_response(body, status=422)
        if isinstance(made, list):
            return await self._stream(request, made)
        self.wrong += [f"answer {request.path}: {problem}" for problem in tgi_spec.wrong_response(request, data, made)]
        return made

    def _route(self, path: str) -> Callable[[Any], Any]:
        return {
            "/info": lambda body: web.json_response(self.info),
            "/generate": self._generate,
            "/generate_stream": self._generate_stream,
            "/tokenize": lambda body: web.json_response(self._tokens(body["inputs"], self.adds_bos)),
            "/chat_tokenize": self._chat_tokenize,
            "/v1/chat/completions": self._chat,
        }[path]

    async def _stream(self, request: web.Request, events: list[Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            self.wrong += [f"event: {problem}" for problem in tgi_spec.wrong_value(event, "StreamResponse")]
        await send(response, self.encoded(events), self.chunk)
        return response

    def encoded(self, events: list[Any]) -> bytes:
        return "".join(
            f"{self.comment}data: {json.dumps(event, ensure_ascii=False)}{self.newline}{self.newline}"
            for event in events
        ).encode()

    # The toy model

    def _tokens(self, text: str, bos: bool) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{"id": BOS, "text": "", "start": 0, "stop": 0}] if bos else []
        end = 0
        for piece in pieces(text):
            size = len(piece.encode("utf-8", "surrogatepass")) if self.unit == "bytes" else len(piece)
            start, end = (end, end + size) if self.unit else (0, 0)
            found.append({"id": number(piece), "text": piece, "start": start, "stop": end})
        return found

    def _render(self, body: Any) -> str:
        if self.template is None:
            raise Invalid("Template error: template not found")
        turns = "".join(f"[{message['role']}] {message['content']}\n" for message in body["messages"])
        return f"{self.template}{turns}[assistant]"

    def _chat_tokenize(self, body: Any) -> web.Response:
        text = self._render(body)
        return web.json_response({"templated_text": text, "tokenize_response": self._tokens(text, False)})

    def _written(self, ids: list[int], p: dict[str, Any]) -> tuple[str, str, list[dict[str, Any]]]:
        found, text, reason = [], "", "eos_token"
        for piece in pieces(self.text):
            if len(found) == p["max_new_tokens"]:
                reason = "length"
                break
            token = number(piece)
            found.append({"id": token, "text": piece, "logprob": logprob(ids, token), "special": False})
            text += piece
            if any(stop in text for stop in p.get("stop", ())):
                reason = "stop_sequence"
                break
        return text, reason, found

    def _top(self, ids: list[int], p: dict[str, Any]) -> list[dict[str, Any]]:
        """The likeliest words, renormalised by no one, a forbidden one without a probability."""
        allowed = p.get("grammar")
        words = [w for w in WORDS if not allowed or regex.fullmatch(allowed["value"], w, partial=True)]
        listed = [{"id": number(w), "text": w, "logprob": logprob(ids, number(w)), "special": False} for w in words]
        return sorted(listed, key=lambda top: -top["logprob"])[: p["top_n_tokens"]]

    def _check(self, ids: list[int], p: dict[str, Any], stream: bool) -> None:
        """Requests that the server refuses beyond its description."""
        best_of, total, longest = p.get("best_of") or 1, self.info["max_total_tokens"], self.info["max_input_tokens"]
        sampling = p.get("do_sample") or any(p.get(name) for name in ("temperature", "top_k", "top_p", "typical_p"))
        rules = {
            "you must use sampling when `best_of` is > 1": best_of > 1 and not sampling,
            "`seed` must not be set when `best_of` > 1": best_of > 1 and "seed" in p,
            "`best_of` != 1 is not supported when streaming tokens": best_of > 1 and stream,
            f"`best_of` must be > 0 and <= {self.info['max_best_of']}": best_of > self.info["max_best_of"],
            "`decoder_input_details` == true is not supported when streaming tokens": stream
            and p["decoder_input_details"],
            # It reads 32-bit floats.
            "`temperature` must be strictly positive": not np.float32(p.get("temperature", 1)) > 0,
            "`top_p` must be > 0.0 and < 1.0": not 0 < np.float32(p.get("top_p", 0.5)) < 1,
            f"`top_n_tokens` must be >= 0 and <= {self.max_top_n}": p.get("top_n_tokens", 0) > self.max_top_n,
            "`max_new_tokens` must be strictly positive": p["max_new_tokens"] == 0,
            "`stop` supports up to 4": len(p.get("stop", ())) > self.info["max_stop_sequences"],
            "grammar is not supported": bool(p.get("grammar")) and not self.grammar,
            f"`inputs` tokens + `max_new_tokens` must be <= {total}. Given: {len(ids)}": len(ids) + p["max_new_tokens"]
            > total,
            f"`inputs` must have less than {longest} tokens. Given: {len(ids)}": len(ids) > longest,
        }
        if broken := [rule for rule, is_broken in rules.items() if is_broken]:
            raise Invalid(broken[0])

    def _generate(self, body: Any, stream: bool = False) -> Any:
        p = body["parameters"]
        ids = [token["id"] for token in self._tokens(body["inputs"], self.adds_bos)]
        if not body["inputs"]:
            raise Invalid("`inputs` cannot be empty")
        self._check(ids, p, stream)
        text, reason, tokens = self._written(ids, p)
        details = tgi_spec.example("Details") | {
            "finish_reason": reason,
            "generated_tokens": len(tokens),
            "tokens": tokens,
            "prefill": [],
            "best_of_sequences": [],
        }
        if p["decoder_input_details"]:
            texts = ["<s>"] * self.adds_bos + pieces(body["inputs"])
            values = [None, *(logprob(ids[:n], ids[n]) for n in range(1, len(ids)))]
            details["prefill"] = [
                {"id": i, "text": t, "logprob": v} for i, t, v in zip(ids, texts, values, strict=True)
            ]
        if p.get("best_of", 1) > 1:
            other = tgi_spec.example("BestOfSequence") | {"generated_tokens": 3}
            details["best_of_sequences"] = [other] * (p["best_of"] - 1)
        details["top_tokens"] = [self._top(ids, p) for _ in tokens] if p.get("top_n_tokens") else []
        if stream:
            return text, details, len(ids)
        headers = {"x-prompt-tokens": str(len(ids)), "x-generated-tokens": str(len(tokens))}
        return web.json_response({"generated_text": text, "details": details}, headers=headers)

    def _generate_stream(self, body: Any) -> list[Any]:
        text, details, read = self._generate(body, stream=True)
        events = [
            tgi_spec.example("StreamResponse", True) | {"index": n, "token": t, "generated_text": None}
            for n, t in enumerate(details["tokens"], 1)
        ]
        kept = {name: details[name] for name in ("finish_reason", "generated_tokens", "seed")}
        events[-1] |= {"generated_text": text, "details": kept | {"input_length": read}}
        return events

    def _chat(self, body: Any) -> web.Response:
        text, sampled = self._render(body), body.get("temperature", 1.0) > 0
        ids = [token["id"] for token in self._tokens(text, False)]
        p = {"max_new_tokens": body["max_tokens"], "stop": body.get("stop", ()), "decoder_input_details": False}
        p |= {"top_p": body["top_p"]} if "top_p" in body else {}
        p |= {"top_n_tokens": body.get("top_logprobs", 0), "grammar": body.get("response_format"), "do_sample": sampled}
        self._check(ids, p, False)
        written, reason, tokens = self._written(ids, p)
        answer = tgi_spec.example("ChatCompletion")
        finish = {"length": "length", "eos_token": "stop", "stop_sequence": "stop"}[reason]
        answer["choices"] = [tgi_spec.example("ChatCompletionComplete", True) | {"finish_reason": finish}]
        answer["choices"][0]["message"] = {"role": "assistant", "content": written}
        if body.get("logprobs"):
            tops = [{"token": top["text"], "logprob": top["logprob"]} for top in self._top(ids, p)]
            first = {"token": tops[0]["token"], "logprob": tops[0]["logprob"], "top_logprobs": tops}
            answer["choices"][0]["logprobs"] = {"content": [first]}
        counted = {"prompt_tokens": len(ids), "completion_tokens": len(tokens)}
        answer["usage"] = counted | {"total_tokens": sum(counted.values())}
        return web.json_response(answer)


async def send(response: web.StreamResponse, data: bytes, chunk: int) -> None:
    for start in range(0, len(data), chunk):
        await response.write(data[start : start + chunk])


def documented(path: str, status: int, message: str | None = None) -> web.Response:
    """The error that the description gives for a route and status; a route without it has /generate's."""
    found = tgi_spec.errors(path)
    body = found[status] if status in found else tgi_spec.errors("/generate")[status]
    body = body | ({"error": message} if message else {})
    if path == "/generate_stream":
        return web.Response(text=f"data: {json.dumps(body)}\n\n", status=status, content_type="text/event-stream")
    return web.json_response(body, status=status)


def in_stream(*events: Any, newline: str = "\n") -> web.Response:
    """A whole stream with these events."""
    text = "".join(f"data: {json.dumps(event)}{newline}{newline}" for event in events)
    return web.Response(body=text.encode(), content_type="text/event-stream")
