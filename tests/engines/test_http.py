"""The client with wrong, failing and hostile servers: a clear error, or a failed record with its reason."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import json
import logging
import socket
import subprocess
import sys
import time
import tracemalloc
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from engines.serving import Serving

from x_instruction.config.model import Model, Server
from x_instruction.engines import Choice, Completed, Completion, Failed, Request, Result, Scored, Scoring
from x_instruction.engines.remote import http
from x_instruction.engines.remote.openai import OpenAIEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import EngineError, NotCapable

HERE = Path(__file__).parent
KEY = "sk-very-secret"
Handler = Callable[[web.Request], Any]


class Live:
    """An aiohttp application on a thread of its own."""

    def __init__(self) -> None:
        self.routes: dict[str, Handler] = {}
        self.seen: list[tuple[str, dict[str, Any], Any]] = []
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._serving = Serving(app)
        self.address, self.close = self._serving.address, self._serving.close

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read() or b"null")
        self.seen.append((request.path, dict(request.headers), body))
        handler = self.routes.get(request.path)
        if handler is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        found = handler(body) if not asyncio.iscoroutinefunction(handler) else await handler(request)
        return found if isinstance(found, web.StreamResponse) else web.json_response(found)


@pytest.fixture
def live() -> Iterator[Live]:
    server = Live()
    server.routes["/v1/models"] = lambda body: {"data": [{"id": "m"}, {"id": "llama"}]}
    server.routes["/v1/completions"] = complete
    server.routes["/v1/chat/completions"] = chat
    yield server
    server.close()


def complete(body: Any) -> Any:
    prompt = body["prompt"]
    if len(prompt) > 500:
        return error(400, "This model's maximum context length is 100 tokens. However, you requested 900")
    choice: dict[str, Any] = {"text": f"<{prompt}>", "finish_reason": "stop"}
    if body.get("logprobs"):
        choice["logprobs"] = {"top_logprobs": [{" 1": -0.5, " 2": -1.5, " 3": -9.0}], "token_logprobs": [-0.5]}
    if body.get("echo"):
        words = [*prompt.split(" "), "x"]
        starts = [sum(len(w) + 1 for w in words[:n]) - (n > 0) for n in range(len(words))]
        choice["logprobs"] = {"token_logprobs": [None, *[-1.0] * (len(words) - 1)], "text_offset": starts}
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


def chat(body: Any) -> Any:
    if body["messages"][0]["role"] == "system":
        return error(400, "System role not supported")
    message = {"role": "assistant", "content": "<chat>"}
    return {"choices": [{"message": message, "finish_reason": "length"}], "usage": {}}


def error(status: int, message: str, **more: Any) -> web.Response:
    headers = more.pop("headers", {})
    return web.json_response({"error": {"message": message, **more}}, status=status, headers=headers)


def make(live: Live | None = None, name: str = "m", **settings: Any) -> OpenAIEngine:
    settings = {"url": f"{live.address}/v1" if live else "", "retries": 2, "timeout": 5.0} | settings
    return OpenAIEngine(Model(name=name, engine="openai", server=Server(**settings)))


def answers(engine: OpenAIEngine, requests: list[Request]) -> list[Result]:
    engine.plan(requests)
    found = dict(engine.answer(requests))
    return [found[position] for position in range(len(requests))]


# Before the first request


def test_an_address_is_required() -> None:
    with pytest.raises(EngineError, match=r"server.url is not set: add the server's address, such as --set"):
        make()


def test_an_unreachable_server_is_reported() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"cannot connect: .*; check that the server is running"):
        make(url=url)
    assert time.monotonic() - started < 30


def test_an_unknown_host_is_reported() -> None:
    with pytest.raises(EngineError, match="cannot connect"):
        make(url="http://no-such-host.invalid/v1")


def test_a_wrong_path_is_reported(live: Live) -> None:
    with pytest.raises(EngineError, match=r"/api/v1/models answers 404 Not Found: check the address"):
        make(live, url=f"{live.address}/api")


def test_the_v1_suffix_is_optional(live: Live) -> None:
    engine = make(live, url=f"{live.address}/")
    assert answers(engine, [Completion("a", 4)]) == [Completed("<a>", "stop", 7, 2)]


def test_a_wrong_model_name_is_reported(live: Live) -> None:
    with pytest.raises(EngineError, match=r"serves no model 'lama', did you mean 'llama'\? \(it serves: m, llama\)"):
        make(live, name="lama")


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_is_reported(live: Live, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("X_INSTRUCTION_API_KEY", KEY)
    live.routes["/v1/models"] = lambda body: error(status, f"Incorrect API key provided: {KEY}.")
    with pytest.raises(EngineError, match=rf"{status} Incorrect API key provided: \*\*\*") as caught:
        make(live)
    assert KEY not in str(caught.value)
    assert "X_INSTRUCTION_API_KEY" in str(caught.value)


def test_a_missing_key_is_reported(live: Live) -> None:
    live.routes["/v1/models"] = lambda body: error(401, "no key")
    with pytest.raises(EngineError, match="the key is missing: set X_INSTRUCTION_MY_KEY"):
        make(live, key_variable="X_INSTRUCTION_MY_KEY")


def test_a_key_that_is_invalid_in_a_header_is_reported(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_INSTRUCTION_API_KEY", "key\r\nX-Evil: 1")
    with pytest.raises(EngineError, match="the key in X_INSTRUCTION_API_KEY has characters that a header cannot"):
        make(live)


def test_a_web_page_is_reported(live: Live) -> None:
    live.routes["/v1/models"] = lambda body: web.Response(text="<!DOCTYPE html><html>hello", content_type="text/html")
    with pytest.raises(EngineError, match=r"a web page \(HTML\), not an API"):
        make(live)


def test_another_json_api_is_reported(live: Live) -> None:
    live.routes["/v1/models"] = lambda body: {"hello": "world"}
    with pytest.raises(EngineError, match="does not return a list of models"):
        make(live)


def test_a_redirect_is_not_followed(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_INSTRUCTION_API_KEY", KEY)
    live.routes["/v1/models"] = lambda body: web.Response(status=307, headers={"Location": "http://evil.invalid/v1"})
    with pytest.raises(EngineError, match=r"redirects to http://evil.invalid/v1: set server.url to that address"):
        make(live)


def test_a_model_without_a_chat_template_refuses_chat_prompts(live: Live) -> None:
    live.routes["/v1/chat/completions"] = lambda body: error(400, "no chat template")
    engine = make(live)
    assert not engine.chat
    with pytest.raises(NotCapable, match=r"m has no chat template on this server .*: use a plain prompt"):
        engine.plan([Completion((("user", "a"),), 4)])


def test_a_chat_only_server_refuses_plain_prompts_and_scoring(live: Live) -> None:
    del live.routes["/v1/completions"]
    engine = make(live)
    assert engine.capabilities == {"complete"}
    with pytest.raises(NotCapable, match=r"only takes chat prompts .* use a chat prompt"):
        engine.plan([Completion("a", 4)])
    with pytest.raises(NotCapable, match="this server cannot score: it does not echo a prompt's log-probabilities"):
        engine.plan([Scoring("a", "b")])


def test_a_server_without_completions_is_reported(live: Live) -> None:
    live.routes = {"/v1/models": live.routes["/v1/models"]}
    with pytest.raises(EngineError, match=r"completes no prompt of 'm': it answered '404 Not Found'"):
        make(live)


# While requests are answered


def test_an_exhausted_quota_stops_at_once(live: Live) -> None:
    engine = make(live)
    live.routes["/v1/completions"] = lambda body: error(429, "You exceeded your quota", code="insufficient_quota")
    with pytest.raises(EngineError, match="the account has no credit left"):
        answers(engine, [Completion(f"{n}", 4) for n in range(20)])


def test_an_expired_key_stops_at_once(live: Live, tmp_path: Path) -> None:
    engine = make(live)
    number = 0

    def expire(body: Any) -> Any:
        nonlocal number
        number += 1
        return complete(body) if number <= 30 else error(401, "expired")

    live.routes["/v1/completions"] = expire
    requests: list[Request] = [Completion(f"p {n}", 4) for n in range(100)]
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache, pytest.raises(EngineError, match="401 expired"):
        cache.ask(requests)
    number = -1_000
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        before = len(live.seen)
        assert len(cache.ask(requests)) == 100
        # Answered requests are not sent again.
        assert len(live.seen) - before <= 100 - 25


def test_prompts_that_are_all_too_long_stop_the_run_and_a_few_are_counted(live: Live) -> None:
    engine = make(live)
    with pytest.raises(
        EngineError, match=r"rejects every request: 400 This model's maximum context.*lower passage_tok"
    ):
        answers(engine, [Completion("x" * 600 + str(n), 4) for n in range(40)])
    few = answers(engine, [Completion("x" * 600 + str(n), 4) for n in range(20)])
    assert {result.reason for result in few if isinstance(result, Failed)} == {"engine_too_long"}
    found = answers(engine, [Completion(("x" * 600 if n == 7 else "y") + str(n), 4) for n in range(20)])
    assert [n for n, result in enumerate(found) if isinstance(result, Failed)] == [7]
    assert isinstance(found[7], Failed)
    assert found[7].reason == "engine_too_long"


def test_filtered_answers_are_counted(live: Live) -> None:
    engine = make(live)
    live.routes["/v1/completions"] = lambda body: {"choices": [{"text": "", "finish_reason": "content_filter"}]}
    assert answers(engine, [Completion("a", 4)]) == [
        Failed("engine_filtered", "the server's content filter withheld the answer")
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"choices": []}, "expected shape: IndexError"),
        ({"error": "x"}, "expected shape: KeyError 'choices'"),
        ([1], "expected shape: TypeError"),
        ({"choices": [{"text": "a"}], "usage": {"prompt_tokens": "many"}}, "expected shape: ValueError"),
    ],
)
def test_json_of_another_shape_is_counted(live: Live, answer: Any, message: str) -> None:
    engine = make(live)
    live.routes["/v1/completions"] = lambda body: web.json_response(answer)
    (found,) = answers(engine, [Completion("a", 4)])
    assert isinstance(found, Failed)
    assert found.reason == "engine_bad_answer"
    assert message in found.message


def test_lone_surrogates_are_replaced(live: Live) -> None:
    engine = make(live)
    live.routes["/v1/completions"] = lambda body: {"choices": [{"text": "a \ud83d\0b \ud83d\ude00"}]}
    assert answers(engine, [Completion("a", 4)]) == [Completed("a \ufffdb \U0001f600", "stop", 0, 0)]


DEEP = "[" * 100_000
CHAIN = '{"error": ' * 900 + "1" + "}" * 900


@pytest.mark.parametrize(
    "answer",
    [
        DEEP,
        '{"choices": ' + DEEP,
        '{"choices": [{"text": "a"}], "usage": {"prompt_tokens": -1}}',
        '{"choices": [{"text": "a"}], "usage": {"completion_tokens": -1}}',
        '{"choices": [{"text": "a"}], "usage": {"prompt_tokens": 1000000000000000000000000000000}}',
        '{"choices": [{"text": "a"}], "usage": {"prompt_tokens": 1e400}}',
        '{"choices": [{"text": "a"}], "usage": {"prompt_tokens": NaN}}',
        '{"choices": [{"text": "a"}], "usage": {"prompt_tokens": {"a": 1}}}',
        '{"choices": [{"text": "a"}], "usage": [1]}',
        '{"choices": [{"text": "a"}], "usage": {"prompt_tokens": ' + "9" * 5_000 + "}}",
        '{"choices": [{"text": ["a"]}]}',
        '{"choices": [{"text": 7}]}',
    ],
    ids=lambda text: text[:90],
)
def test_an_invalid_answer_fails_only_its_request(live: Live, tmp_path: Path, answer: str) -> None:
    engine = make(live, retries=0)
    odd = web.Response(text=answer, content_type="application/json")
    live.routes["/v1/completions"] = lambda body: odd if body["prompt"] == "3" else complete(body)
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        found = cache.ask([Completion(f"{n}", 4) for n in range(8)])
        assert [n for n, result in enumerate(found) if not isinstance(result, Completed)] == [3]
        assert isinstance(found[3], Failed)
        assert found[3].reason == "engine_bad_answer"
        assert cache.totals()["prompt_tokens"] == 7 * 7


@pytest.mark.parametrize("value", ["NaN", "1e400", "-1e400", "1" + "0" * 400, '"-0.5"', "null", "{}"])
def test_an_invalid_probability_fails_only_its_request(live: Live, value: str) -> None:
    engine = make(live, retries=0)
    answer = '{"choices": [{"text": "1", "logprobs": {"top_logprobs": [{" 1": VALUE, " 2": VALUE}], '
    answer += '"token_logprobs": [null, VALUE, VALUE], "text_offset": [0, 1, 3]}}]}'
    live.routes["/v1/completions"] = lambda body: web.Response(text=answer.replace("VALUE", value))
    for request in (Choice("a", (" 1", " 2")), Scoring("a", " c d")):
        (found,) = answers(engine, [request])
        assert isinstance(found, Failed), (request, found)
        assert found.reason == "engine_bad_answer"


def test_an_echo_of_another_prompt_fails_only_its_request(live: Live) -> None:
    engine = make(live, retries=0)
    echo = {"token_logprobs": [None, -1.0], "text_offset": [0, 90]}
    live.routes["/v1/completions"] = lambda body: {"choices": [{"text": "1", "logprobs": echo}]}
    (found,) = answers(engine, [Scoring("a", " c d")])
    assert isinstance(found, Failed)
    assert found.reason == "engine_bad_answer"


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("answer", [DEEP, CHAIN])
def test_a_nested_error_fails_only_its_request(live: Live, status: int, answer: str) -> None:
    engine = make(live, retries=0)
    live.routes["/v1/completions"] = lambda body: web.Response(text=answer, status=status)
    (found,) = answers(engine, [Completion("a", 4)])
    assert isinstance(found, Failed)
    assert found.reason == ("engine_refused" if status == 400 else "engine_unavailable")


@pytest.mark.parametrize("logprobs", ["[1]", "[[]]", "7", '"x"', DEEP])
def test_a_server_with_another_response_shape_is_reported(
    live: Live, logprobs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    answer = '{"choices": [{"text": "1", "message": {"content": "1"}, "logprobs": LOGPROBS}]}'.replace(
        "LOGPROBS", logprobs
    )
    live.routes["/v1/completions"] = live.routes["/v1/chat/completions"] = lambda body: web.Response(text=answer)
    with pytest.raises(EngineError, match=rf"{live.address}/v1"):
        make(live)


def test_temporary_faults_do_not_change_the_probed_capabilities(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the requests of a worker that starts then would have another form, and other answers."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    expected = make(live).probed
    seen: Counter[str] = Counter()
    faults = (
        lambda request: web.json_response({}, status=503),
        lambda request: web.json_response({}, status=500),
        lambda request: web.Response(text='{"choices": [{"te'),
        lambda request: request.transport.close(),
        lambda request: web.json_response({"choices": 7}),
    )

    def failing(handler: Handler) -> Handler:
        async def answer(request: web.Request) -> Any:
            body = await request.text()
            seen[body] += 1
            if seen[body] <= (len(faults) if body else 1):
                return faults[seen[body] - 1](request) or web.Response()
            found = handler(json.loads(body or "null"))
            return found if isinstance(found, web.Response) else web.json_response(found)

        return answer

    live.routes = {path: failing(handler) for path, handler in live.routes.items()}
    found = make(live).probed
    assert dataclasses.replace(found, notes={}) == dataclasses.replace(expected, notes={})
    assert min(seen.values()) > 1


def test_a_server_too_slow_for_the_probes_is_reported(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(1)
        return web.Response()

    live.routes["/v1/completions"] = slow
    with pytest.raises(EngineError, match=r"a request of one token: no answer within 0\.2 seconds; raise"):
        make(live, timeout=0.2)


def test_an_endless_answer_is_not_read(live: Live) -> None:
    engine = make(live, retries=0)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(200):
                await response.write(b"[" * (1 << 20))
        except ConnectionError:
            pass
        return response

    live.routes["/v1/completions"] = endless
    assert answers(engine, [Completion("a", 4)]) == [Failed("engine_bad_answer", "the answer is larger than 64 MiB")]


def bomb(encoding: str) -> bytes:
    """256 MiB of spaces, compressed to less than 300 kB."""
    wbits = {"gzip": 31, "deflate": 15, "raw deflate": -15}[encoding]
    packer = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return b"".join([*(packer.compress(b" " * (1 << 20)) for _ in range(256)), packer.flush()])


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate"])
def test_a_compression_bomb_is_not_read(live: Live, encoding: str, kind: str, length: bool) -> None:
    engine = make(live, retries=0, timeout=60.0)
    packed = bomb(encoding)
    assert len(packed) < 2 << 20
    headers = {"Content-Encoding": encoding.split()[-1], "Content-Type": kind}

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        if length:
            response.content_length = len(packed)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await response.write(packed)
        return response

    live.routes["/v1/completions"] = answer
    tracemalloc.start()
    try:
        found = answers(engine, [Completion("a", 4)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [Failed("engine_bad_answer", "the answer is larger than 64 MiB")]
    assert peak < 128 << 20


def test_answers_to_probes_are_bounded(live: Live) -> None:
    packed = bomb("gzip")
    live.routes["/v1/models"] = lambda body: web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    with pytest.raises(EngineError, match="the answer is larger than 64 MiB"):
        make(live)


def test_a_compressed_answer_is_read(live: Live) -> None:
    def answer(body: Any) -> web.Response:
        packed = gzip.compress(json.dumps(complete(body)).encode())
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    engine = make(live)
    live.routes["/v1/completions"] = answer
    assert answers(engine, [Completion("a", 4)]) == [Completed("<a>", "stop", 7, 2)]


def test_a_lost_server_stops_the_run_without_losing_answers(live: Live, tmp_path: Path) -> None:
    engine = make(live, outage_timeout=1.0)
    requests: list[Request] = [Completion(f"p {n}", 4) for n in range(40)]
    number = 0

    def die(body: Any) -> Any:
        nonlocal number
        number += 1
        return complete(body) if number <= 20 else error(503, "loading")

    live.routes["/v1/completions"] = die
    with (
        RequestCache(tmp_path / "a.sqlite", engine, {}) as cache,
        pytest.raises(EngineError, match=r"has not answered for 1 seconds \(503 loading\). All answers are kept"),
    ):
        cache.ask(requests)
    live.routes["/v1/completions"] = complete
    before = len(live.seen)
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        assert all(isinstance(result, Completed) for result in cache.ask(requests))
    assert len(live.seen) - before == 20


def test_a_request_that_always_fails_is_given_up(live: Live) -> None:
    engine = make(live, retries=2)
    live.routes["/v1/completions"] = lambda body: error(500, "boom") if body["prompt"] == "3" else complete(body)
    found = answers(engine, [Completion(str(n), 4) for n in range(10)])
    assert found[3] == Failed("engine_unavailable", "500 boom")
    assert sum(isinstance(result, Completed) for result in found) == 9
    assert sum(body["prompt"] == "3" for path, _, body in live.seen if path == "/v1/completions") == 3


def test_only_temporary_errors_are_retried(live: Live) -> None:
    engine = make(live, retries=5)
    answers(engine, [Completion("warm", 4)])
    live.routes["/v1/completions"] = lambda body: error(422, "no")
    before = len(live.seen)
    assert answers(engine, [Completion("a", 4)]) == [Failed("engine_refused", "422 no")]
    assert len(live.seen) == before + 1


def test_retry_after_delays_all_requests(live: Live) -> None:
    engine = make(live)
    times: list[float] = []

    def once(body: Any) -> Any:
        times.append(time.monotonic())
        return error(429, "slow down", headers={"Retry-After": "1"}) if len(times) == 1 else complete(body)

    live.routes["/v1/completions"] = once
    assert isinstance(answers(engine, [Completion("a", 4)])[0], Completed)
    assert times[1] - times[0] >= 1.0


def test_no_requests_are_sent_after_a_stop(live: Live) -> None:
    engine = make(live)
    left = 5

    def should_continue() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    requests: list[Request] = [Completion(f"{n}", 4) for n in range(100)]
    assert len(list(engine.answer(requests, 0, should_continue))) == 5


def test_stopping_early_leaves_no_requests_in_flight(live: Live) -> None:
    engine = make(live)
    found = engine.answer([Completion(f"{n}", 4) for n in range(1_000)])
    next(found)
    found.close()  # type: ignore[attr-defined]
    seen = len(live.seen)
    time.sleep(0.2)
    assert len(live.seen) - seen < 64
    assert len(answers(engine, [Completion(f"{n}", 4) for n in range(100)])) == 100


# Requests on the wire


def test_the_wire_format(live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("X_INSTRUCTION_OTHER_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "must-not-be-used")
    engine = make(
        live, key_variable="X_INSTRUCTION_OTHER_KEY", extra_body='{"chat_template_kwargs": {"enable_thinking": false}}'
    )
    answers(engine, [Completion("a", 4, 0.7, 0.9, 5, ("\n",), 1 << 62)])
    path, headers, body = live.seen[-1]
    assert path == "/v1/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "m",
        "prompt": "a",
        "max_tokens": 4,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 0,
        "stop": ["\n"],
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert answers(engine, [Completion((("user", "น้ำ"),), 4)]) == [Completed("<chat>", "length", 0, 0)]
    assert live.seen[-1][2]["messages"] == [{"role": "user", "content": "น้ำ"}]
    assert not any("must-not" in json.dumps(seen) for seen in live.seen)
    assert KEY not in caplog.text


def test_probabilities_and_scores(live: Live) -> None:
    engine = make(live)
    (chosen,) = answers(engine, [Choice("a", (" 1", " 2"))])
    assert chosen.probabilities == pytest.approx((0.7310586, 0.2689414))  # type: ignore[union-attr]
    # " 7" is not listed, so every answer is scored: three equal ones.
    (scored,) = answers(engine, [Choice("a", (" 1", " 2", " 7"))])
    assert scored.probabilities == pytest.approx((1 / 3,) * 3)  # type: ignore[union-attr]
    assert answers(engine, [Scoring("a b", " c d e")]) == [Scored(-3.0, 3, 7)]
    assert answers(engine, [Scoring("a b", " c d e", max_tokens=2)]) == [Scored(-2.0, 2, 7)]


# Faults on the wire


def start(*command: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.fixture
def faulty() -> Iterator[tuple[int, int]]:
    """Ports of a server and of a proxy before it that fails one request in ten."""
    server, port = start(str(HERE / "served.py"), "--latency", "0.02")
    proxy, proxy_port = start(str(HERE / "faulty.py"), "--upstream", str(port), "--rate", "0.1")
    yield port, proxy_port
    for process in (proxy, server):
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def asked(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked") as answer:
        found: dict[str, int] = json.load(answer)["asked"]
        return found


def test_two_thousand_requests_over_a_faulty_connection_succeed(faulty: tuple[int, int], tmp_path: Path) -> None:
    port, proxy_port = faulty
    engine = make(url=f"http://127.0.0.1:{proxy_port}", timeout=1.0, retries=6)
    requests: list[Request] = [Completion(f"p {n}", 8) for n in range(2_000)]
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        found = cache.ask(requests)
        totals = cache.totals()
    failed = [result for result in found if isinstance(result, Failed)]
    done = [result for result in found if isinstance(result, Completed)]
    assert len(done) + len(failed) == len(found) == 2_000
    assert all(result.reason.startswith("engine_") and result.message for result in failed)
    from engines.served import text_for

    for request, result in zip(requests, found, strict=True):
        assert isinstance(result, Failed) or result.text == text_for(str(request.prompt))  # type: ignore[union-attr]
    # With seven tries at one in ten, one failure in ten million is expected.
    assert not failed
    assert totals["requests_sent"] == 2_000
    assert engine.client.counts.retried > 100
    # No request is lost or repeated without cause: only those with cut answers reach the server twice.
    repeats = {prompt: number for prompt, number in asked(port).items() if prompt.startswith("p ")}
    assert len(repeats) == 2_000
    assert sum(repeats.values()) < 2_000 + engine.client.counts.retried


def test_without_retries_every_fault_is_counted(faulty: tuple[int, int]) -> None:
    engine = make(url=f"http://127.0.0.1:{faulty[1]}", timeout=1.0, retries=0)
    found = answers(engine, [Completion(f"p {n}", 8) for n in range(1_000)])
    reasons = {result.reason for result in found if isinstance(result, Failed)}
    assert len(found) == 1_000
    assert reasons == {"engine_unavailable", "engine_timeout", "engine_bad_answer"}
    # On a busy machine, more requests than the stalled ones take longer than the timeout.
    in_time = [result for result in found if isinstance(result, Failed) and result.reason != "engine_timeout"]
    assert 10 < len(in_time) < 100
