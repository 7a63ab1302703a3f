"""Text Generation Inference's streams, and its errors: over plain HTTP, inside a stream and on the route of chat."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from engines import tgi_spec
from engines.tgi_asking import CHAT, answers, documented_error, make, one, says
from engines.tgi_double import Double, Scripted, documented, in_stream

from x_instruction.engines import (
    Completed,
    Completion,
    Failed,
)
from x_instruction.errors import EngineError

# Streams

STREAMED = Completion("Habari ya leo", 7, temperature=0.7, stop=("\n",))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_a_stream_gives_the_same_text(double: Double, newline: str, chunk: int) -> None:
    double.newline, double.chunk = newline, chunk
    double.comment = f":{newline}{newline}: keep-alive{newline}"
    double.text = "Ñandú – first 🌍 line.\nsecond"
    assert one(make(double, stream=True), STREAMED) == one(make(double), STREAMED)
    assert len(double.bodies("/generate_stream")) == 1


def test_an_event_may_have_several_lines(double: Double) -> None:
    engine = make(double, stream=True)
    event = {"index": 1, "token": {"id": 1, "text": "a", "logprob": -1.0, "special": False}, "generated_text": "a"}
    text = "".join(f"data: {line}\n" for line in json.dumps(event, indent=1).splitlines()) + "\n"
    double.script("/generate_stream", says(200, text, content_type="text/event-stream"))
    assert one(engine, STREAMED).text == "a"


EVENT = {"index": 1, "token": {"id": 1, "text": "a", "logprob": -1.0, "special": False}, "generated_text": None}


@pytest.mark.parametrize(
    "text", ["", ": nothing\n\n", f"data: {json.dumps(EVENT)}\n\n", 'data: {"index": 2, "generated_te']
)
def test_a_stream_that_ends_early_is_a_broken_connection(double: Double, text: str) -> None:
    engine = make(double, stream=True)
    cut = says(200, text, content_type="text/event-stream")
    double.script("/generate_stream", cut, cut)
    assert one(engine, STREAMED).text == "A first line."
    assert engine.client.counts.retried == 2
    double.script("/generate_stream", cut, cut, cut)
    assert one(engine, STREAMED) == Failed(
        "engine_unavailable", "the connection broke: the stream ended before its last event"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [DONE]\n\n", "the answer is not JSON: [DONE]"),
        (
            "data: [1]\n\n",
            "the answer does not have the expected shape: TypeError /generate_stream returned list, expected an object",
        ),
        (
            'data: {"generated_text": 7}\n\n',
            "the answer does not have the expected shape: TypeError generated_text is of type int, expected str",
        ),
    ],
)
def test_another_stream_is_an_error(double: Double, text: str, message: str) -> None:
    engine = make(double, stream=True, retries=0)
    double.script("/generate_stream", says(200, text, content_type="text/event-stream"))
    result = one(engine, STREAMED)
    assert result.reason == "engine_bad_answer"
    assert result.message.startswith(message)


# Errors: over plain HTTP, inside a stream, and on the route of chat

TABLE = [
    (422, "validation", "engine_refused"),
    (422, "template_error", "engine_refused"),
    (422, "missing_template_variable", "engine_refused"),
    (422, "tool_error", "engine_refused"),
    (424, "generation", ""),
    (429, "overloaded", ""),
    (500, "incomplete_generation", ""),
    (500, "incomplete_generation_stream", ""),
    (500, "stream_serialization_error", ""),
    (503, "healthcheck", ""),
]
WAYS: dict[str, Callable[[int, dict[str, str]], Scripted]] = {
    "/generate": lambda status, body: lambda _: web.json_response(body, status=status),
    "/generate_stream": lambda status, body: lambda _: in_stream(EVENT, body),
    "/v1/chat/completions": lambda status, body: lambda _: web.json_response(body, status=status),
}


@pytest.mark.parametrize(("status", "kind", "reason"), TABLE)
@pytest.mark.parametrize("path", WAYS)
def test_temporary_errors_are_retried_and_permanent_ones_fail(
    double: Double, path: str, status: int, kind: str, reason: str
) -> None:
    """Temporary errors are retried and permanent ones are not, also in a stream."""
    double.template = "" if path == "/v1/chat/completions" else "<s>"
    engine = make(double, stream=path == "/generate_stream")
    error = WAYS[path](status, {"error": "it went wrong", "error_type": kind})
    double.script(path, error)
    double.seen.clear()
    prompt = CHAT if path == "/v1/chat/completions" else "Habari"
    result = one(engine, Completion(prompt, 7))
    assert len(double.bodies(path)) == (1 if reason else 2)
    if reason:
        assert result == Failed(reason, f"422 it went wrong ({kind})")
    else:
        assert isinstance(result, Completed)


@pytest.mark.parametrize("path", ["/generate", "/generate_stream", "/v1/chat/completions"])
def test_every_documented_error_is_read(double: Double, path: str) -> None:
    """With the statuses and bodies of the description, in the order of the description."""
    double.template = "" if path == "/v1/chat/completions" else "<s>"
    engine = make(double, stream=path == "/generate_stream")
    for status, body in tgi_spec.errors(path).items():
        double.script(path, documented_error(path, status))
        result = one(engine, Completion(CHAT if path == "/v1/chat/completions" else "Habari", 7))
        if status == 422:
            assert result == Failed("engine_refused", f"422 {body['error']}")
        else:
            assert isinstance(result, Completed)


@pytest.mark.parametrize(
    "details",
    [
        {"generated_tokens": -3},
        {"generated_tokens": 10**30},
        {"input_length": [7]},
        {"generated_tokens": 1, "best_of_sequences": [{"generated_tokens": -(10**30)}]},
        [1],
    ],
)
def test_impossible_counts_fail_only_their_request(double: Double, details: Any) -> None:
    engine = make(double, retries=0)
    double.script("/generate", says(200, json.dumps({"generated_text": "a", "details": details})))
    assert one(engine, Completion("a", 3)).reason == "engine_bad_answer"
    assert isinstance(one(engine, Completion("a", 3)), Completed)


def test_lone_surrogates_are_replaced(double: Double) -> None:
    engine = make(double, stream=True)
    double.script(
        "/generate_stream",
        says(200, r'data: {"generated_text": "a \ud83d\u0000b"}' + "\n\n", content_type="text/event-stream"),
    )
    result = one(engine, STREAMED)
    assert isinstance(result, Completed)
    assert result.text == "a \ufffdb"


def test_overload_halves_the_requests_in_flight(double: Double) -> None:
    engine = make(double)
    double.always["/generate"] = lambda body: documented("/generate", 429) if double.under_way > 2 else None
    double.hold = 0.002
    assert all(isinstance(result, Completed) for result in answers(engine, *[Completion("a", 3)] * 60))
    assert engine.client.endpoints.limit < 8


@pytest.mark.parametrize(
    "answer",
    [
        documented_error(
            "/generate", 422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"
        ),
        documented_error(
            "/generate", 422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 9"
        ),
        says(413, "Failed to buffer the request body: length limit exceeded"),
    ],
)
def test_a_prompt_too_long_for_the_server_fails(double: Double, answer: Scripted) -> None:
    engine = make(double)
    double.script("/generate", answer)
    assert one(engine, Completion("a", 3)).reason == "engine_too_long"


def test_a_long_message_is_cut(double: Double) -> None:
    engine = make(double)
    double.script("/generate", documented_error("/generate", 422, "no " * 500))
    assert len(one(engine, Completion("a", 3)).message) < 250


def test_a_run_stops_if_every_request_is_refused(double: Double) -> None:
    engine = make(double)
    double.always["/generate"] = lambda body: documented("/generate", 422)
    with pytest.raises(EngineError, match="rejects every request: 422 Input validation error"):
        answers(engine, *[Completion("a", 3)] * 100)


def test_a_missing_route_is_reported(double: Double) -> None:
    engine = make(double)
    double.script("/generate", says(404, "gone"))
    with pytest.raises(EngineError, match="answers 404 gone"):
        one(engine, Completion("a", 3))


@pytest.mark.parametrize("body", ["[]", "7", '{"generated_text": null}', '{"details": {}}', "<html>"])
def test_an_answer_of_another_shape_is_reported(double: Double, body: str) -> None:
    engine = make(double, retries=0)
    double.script("/generate", says(200, body))
    assert one(engine, Completion("a", 3)).reason == "engine_bad_answer"
