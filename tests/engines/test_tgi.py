"""The tgi engine against a server made of Text Generation Inference's own description of its API."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from engines.tgi_double import BOS, Double, Scripted, documented, in_stream, logprob, number, pieces

from x_instruction.engines import (
    Choice,
    Chosen,
    Completed,
    Completion,
    Failed,
    Prompt,
    Request,
    Result,
    Scored,
    Scoring,
    http,
    open_engine,
)
from x_instruction.engines.tgi import TgiEngine
from x_instruction.errors import EngineError, NotCapable
from x_instruction.recipe import Model, Server

CHAT = (("system", "Be brief."), ("user", "Ask something."))
KEY = "hf_very_secret"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_FIRST_WAIT", 0.002)


@pytest.fixture
def double() -> Iterator[Double]:
    server = Double()
    yield server
    server.close()
    assert server.wrong == []


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


def told(path: str, status: int, message: str | None = None) -> Scripted:
    return lambda body: documented(path, status, message)


# Before any record is spent


def test_no_address() -> None:
    with pytest.raises(EngineError, match="no server is named"):
        make()


def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(EngineError, match=r"cannot connect.*is the server running"):
            make(url=f"http://127.0.0.1:{held.getsockname()[1]}")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (says(200, "<!doctype html><p>hello", content_type="text/html"), r"a web page \(HTML\), not an API"),
        (says(200, "plain"), "the answer is not JSON: plain"),
        (says(200, '{"object": "list", "data": []}'), "is no Text Generation Inference server: /info says nothing of"),
        (says(200, '{"model_id": "toy", "max_total_tokens": null}'), "is no Text Generation Inference server"),
        (says(200, "[]"), "is no Text Generation Inference server"),
        (says(404, '{"detail": "Not Found"}'), "/info answers 404 Not Found; is the address right"),
        (says(503, '{"error": "unhealthy", "error_type": "healthcheck"}'), r"503 unhealthy \(healthcheck\)"),
        (says(302, "", headers={"Location": "https://login.example/"}), "points to https://login.example/"),
    ],
)
def test_what_answers_is_not_tgi(double: Double, answer: Scripted, message: str) -> None:
    double.script("/info", answer)
    with pytest.raises(EngineError, match=message):
        make(double)


def test_a_wrong_key_is_named_and_not_shown(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    double.script("/info", says(401, "who are you?"))
    with pytest.raises(EngineError, match=r"401 who are you\?; the key is missing or not accepted: set X_INSTRUCTION"):
        make(double)
    monkeypatch.setenv("X_INSTRUCTION_API_KEY", KEY)
    double.script("/info", says(401, f"no {KEY}"))
    with pytest.raises(EngineError, match="is the key in X_INSTRUCTION_API_KEY right") as caught:
        make(double)
    assert KEY not in str(caught.value)
    assert double.headers[-1]["Authorization"] == f"Bearer {KEY}"


def test_another_model_names_both(double: Double) -> None:
    with pytest.raises(EngineError, match="serves the model 'toy', and the recipe wants 'other/model'"):
        make(double, "other/model")


def test_another_commit_names_both(double: Double) -> None:
    with pytest.raises(EngineError, match=f"at commit {double.info['model_sha']}, and the recipe wants {'0' * 40}"):
        make(double, revision="0" * 40)
    assert make(double, revision=double.info["model_sha"]).revision == double.info["model_sha"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"details": False, "stop": ["x"]}, "sets details, stop, which the engine tgi sets itself"),
        ({"best_of": 0}, "best_of to 0"),
        ({"best_of": "2"}, "best_of to '2'"),
        ({"best_of": True}, "best_of to True"),
    ],
)
def test_parameters_that_cannot_work(double: Double, extra: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        make(double, extra=extra)


def test_a_server_that_never_writes(double: Double) -> None:
    double.always["/generate"] = lambda body: documented("/generate", 424)
    with pytest.raises(EngineError, match="completes no prompt: it said '424 Request failed during generation"):
        make(double)


def test_what_is_known_after_the_probes(double: Double) -> None:
    engine = open_engine(Model(name="toy", engine="tgi", server=Server(url=f"{double.url}/v1/")))
    assert isinstance(engine, TgiEngine)
    assert engine.can == {"complete", "choose", "score"}
    assert engine.chat
    assert engine.revision == double.info["model_sha"]
    assert (engine.abilities.chat, engine.abilities.bos, engine.abilities.listed) == ("rendered", "<s>", 5)
    double.info["model_sha"] = None
    assert make(double, revision="v2").revision == "served:v2"


def test_a_server_that_can_little(double: Double) -> None:
    double.template, double.max_top_n, double.unit = None, 0, ""
    engine = make(double)
    assert engine.can == {"complete"}
    assert not engine.chat
    with pytest.raises(NotCapable, match=r"cannot choose: it lists no most likely tokens, and said '422 Input valid"):
        engine.plan([Choice("a", ("1", "2"))])
    with pytest.raises(NotCapable, match="cannot score: /tokenize does not say where tokens start"):
        engine.plan([Scoring("a", "b")])
    with pytest.raises(NotCapable, match="toy has no chat template on this server"):
        engine.plan([Completion(CHAT, 5)])


def test_no_tokenizer_at_all(double: Double) -> None:
    double.always["/tokenize"] = lambda body: documented("/tokenize", 404)
    engine = make(double)
    assert engine.can == {"complete", "choose"}
    # Nobody counts a long prompt: what fits after the longest one is asked for.
    assert isinstance(one(engine, Completion("é" * 600, 2000)), Completed)
    assert double.bodies("/generate")[-1]["parameters"]["max_new_tokens"] == 1024


# Complete


def test_sampling_goes_over_as_it_is(double: Double) -> None:
    engine = make(double, adapter="lora-sw")
    request = Completion("Habari ya leo", 7, temperature=0.7, top_p=0.9, top_k=64, stop=("\n",), seed=41)
    result = one(engine, request)
    assert result == Completed("A first line.", "stop", 4, 5)
    body = double.bodies("/generate")[-1]
    assert body["inputs"] == "Habari ya leo"
    assert body["parameters"] == {
        "details": True,
        "decoder_input_details": False,
        "return_full_text": False,
        "adapter_id": "lora-sw",
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 64,
        "stop": ["\n"],
        "seed": 42,
        "max_new_tokens": 7,
    }


def test_greedy_sends_nothing_that_would_sample(double: Double) -> None:
    assert one(make(double), Completion("a", 3, top_p=0.5, top_k=7, seed=9)) == Completed(
        "A first line", "length", 2, 3
    )
    parameters = double.bodies("/generate")[-1]["parameters"]
    assert parameters["do_sample"] is False
    assert parameters.keys().isdisjoint({"temperature", "top_p", "top_k", "seed", "stop", "best_of"})


def test_an_answer_that_ends_by_itself(double: Double) -> None:
    result = one(make(double), Completion("a", 100))
    assert result == Completed(double.text, "stop", 2, len(pieces(double.text)))


def test_recipe_parameters_are_merged(double: Double) -> None:
    extra = {"repetition_penalty": 1.1, "typical_p": 0.9, "grammar": {"type": "regex", "value": ".*"}}
    one(make(double, extra=extra), Completion("a", 3, temperature=0.5))
    assert double.bodies("/generate")[-1]["parameters"].items() >= extra.items()


@pytest.mark.parametrize("prompt", ["a", CHAT])
def test_null_takes_a_parameter_out(double: Double, prompt: Prompt) -> None:
    double.template = ""
    one(make(double, extra={"seed": None, "best_of": None}), Completion(prompt, 3, temperature=0.5))
    path, body = double.seen[-1]
    assert path == ("/generate" if prompt == "a" else "/v1/chat/completions")
    assert {"seed", "best_of"}.isdisjoint(body.get("parameters", body))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("stream", [False, True])
def test_best_of(double: Double, temperature: float, stream: bool) -> None:
    """It samples, has no seed, does not stream, and costs all of its sequences."""
    engine = make(double, extra={"best_of": 5, "seed": 3}, stream=stream)
    result = one(engine, Completion("a", 3, temperature=temperature, seed=9))
    parameters = double.bodies("/generate")[-1]["parameters"]
    assert parameters["best_of"] == double.info["max_best_of"] == 2
    assert parameters["do_sample"]
    assert "seed" not in parameters
    assert double.bodies("/generate_stream") == []
    assert result.output_tokens == 3 + 3


def test_more_stops_than_the_server_takes(double: Double) -> None:
    double.info["max_stop_sequences"] = 2
    result = one(make(double), Completion("a", 50, stop=("x", "y", "second", ".")))
    assert double.bodies("/generate")[-1]["parameters"]["stop"] == ["x", "y"]
    assert result.text == "A first line"
    assert result.finish_reason == "stop"
    assert result.output_tokens == len(pieces(double.text)), "what was written is counted, cut or not"


def test_room_for_the_answer(double: Double) -> None:
    """Tokens, not bytes, decide; the server counts only where bytes leave it open."""
    double.info |= {"max_input_tokens": 50, "max_total_tokens": 60}
    engine = make(double)
    double.seen.clear()
    requests = [Completion(" ".join(["elfu"] * n), 30) for n in (2, 40, 49, 50, 80)]
    found = answers(engine, *requests)
    assert [body["parameters"]["max_new_tokens"] for body in double.bodies("/generate")] == [30, 19, 10]
    assert [isinstance(result, Completed) for result in found] == [True, True, True, False, False]
    assert found[3] == Failed(
        "engine_too_long", "the prompt has 51 tokens; the server takes 50, and 60 with the answer"
    )
    assert len(double.bodies("/tokenize")) == 4


def test_no_more_requests_at_once_than_the_server_takes(double: Double) -> None:
    double.info["max_concurrent_requests"] = 3
    engine = make(double)
    double.hold = 0.01
    assert all(isinstance(result, Completed) for result in answers(engine, *[Completion("a", 3)] * 40))
    assert double.most == 3


@pytest.mark.parametrize("required", [False, True])
def test_every_documented_success(double: Double, required: bool) -> None:
    """Whatever the description allows to be left out is."""
    from engines import tgi_spec

    engine = make(double)
    made = tgi_spec.example("GenerateResponse", required)
    double.script("/generate", lambda body: web.json_response(made))
    assert one(engine, Completion("a", 3)) == Completed("test", *(("stop", 0, 0) if required else ("length", 1, 2)))
    engine = make(double, stream=True)
    made = tgi_spec.example("StreamResponse", required) | {"generated_text": "test"}
    double.script("/generate_stream", lambda body: in_stream(made))
    assert one(engine, Completion("a", 3)) == Completed("test", *(("stop", 0, 0) if required else ("length", 1, 1)))


# Streams

STREAMED = Completion("Habari ya leo", 7, temperature=0.7, stop=("\n",))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_a_stream_says_the_same(double: Double, newline: str, chunk: int) -> None:
    double.newline, double.chunk = newline, chunk
    double.comment = f":{newline}{newline}: keep-alive{newline}"
    double.text = "Ñandú – first 🌍 line.\nsecond"
    assert one(make(double, stream=True), STREAMED) == one(make(double), STREAMED)
    assert len(double.bodies("/generate_stream")) == 1


def test_an_event_of_several_lines(double: Double) -> None:
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
        ("data: [1]\n\n", "the answer has another shape: TypeError /generate_stream answers no object"),
        ('data: {"generated_text": 7}\n\n', "the answer has another shape: TypeError generated_text is no text"),
    ],
)
def test_a_stream_of_something_else(double: Double, text: str, message: str) -> None:
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
def test_errors(double: Double, path: str, status: int, kind: str, reason: str) -> None:
    """What passes is tried again, what stays is not, and in a stream it is the same."""
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
def test_every_documented_error(double: Double, path: str) -> None:
    """With the statuses and bodies of the description, in the order of the description."""
    from engines import tgi_spec

    double.template = "" if path == "/v1/chat/completions" else "<s>"
    engine = make(double, stream=path == "/generate_stream")
    for status, body in tgi_spec.errors(path).items():
        double.script(path, told(path, status))
        result = one(engine, Completion(CHAT if path == "/v1/chat/completions" else "Habari", 7))
        if status == 422:
            assert result == Failed("engine_refused", f"422 {body['error']}")
        else:
            assert isinstance(result, Completed)


def test_overload_halves_what_is_under_way(double: Double) -> None:
    engine = make(double)
    double.always["/generate"] = lambda body: documented("/generate", 429) if double.under_way > 2 else None
    double.hold = 0.002
    assert all(isinstance(result, Completed) for result in answers(engine, *[Completion("a", 3)] * 60))
    assert engine.client.throttle.limit < 8


@pytest.mark.parametrize(
    "answer",
    [
        told("/generate", 422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"),
        told("/generate", 422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 9"),
        says(413, "Failed to buffer the request body: length limit exceeded"),
    ],
)
def test_too_long_by_the_servers_count(double: Double, answer: Scripted) -> None:
    engine = make(double)
    double.script("/generate", answer)
    assert one(engine, Completion("a", 3)).reason == "engine_too_long"


def test_a_long_message_is_cut(double: Double) -> None:
    engine = make(double)
    double.script("/generate", told("/generate", 422, "no " * 500))
    assert len(one(engine, Completion("a", 3)).message) < 250


def test_all_refused_stops_the_run(double: Double) -> None:
    engine = make(double)
    double.always["/generate"] = lambda body: documented("/generate", 422)
    with pytest.raises(EngineError, match="refuses every request: 422 Input validation error"):
        answers(engine, *[Completion("a", 3)] * 100)


def test_a_route_that_goes_away(double: Double) -> None:
    engine = make(double)
    double.script("/generate", says(404, "gone"))
    with pytest.raises(EngineError, match="answers 404 gone"):
        one(engine, Completion("a", 3))


@pytest.mark.parametrize("body", ["[]", "7", '{"generated_text": null}', '{"details": {}}', "<html>"])
def test_an_answer_of_another_shape(double: Double, body: str) -> None:
    engine = make(double, retries=0)
    double.script("/generate", says(200, body))
    assert one(engine, Completion("a", 3)).reason == "engine_bad_answer"


# Choose

LEVELS = tuple(f" {level}" for level in range(1, 6))


def first_tokens(text: str, words: tuple[str, ...]) -> list[float]:
    """What the toy model makes of the first token of each answer, as probabilities."""
    ids = [BOS, *map(number, pieces(text))]
    weights = [2.718281828459045 ** logprob(ids, number(word)) for word in words]
    return [weight / sum(weights) for weight in weights]


def likelihood(text: str, continuation: str, most: int = 0) -> float:
    ids = [BOS, *map(number, pieces(text + continuation))]
    start = 1 + len(pieces(text))
    values = [logprob(ids[:n], ids[n]) for n in range(start, len(ids))]
    return sum(values[:most] if most else values)


def test_the_grammar_allows_the_answers_only(double: Double) -> None:
    result = one(make(double), Choice("Rate it:\n", ("yes", "no", "maybe")))
    assert isinstance(result, Chosen)
    assert result.probabilities == pytest.approx(first_tokens("Rate it:\n", ("yes", "no", "maybe")))
    assert (result.prompt_tokens, result.output_tokens) == (5, 1)
    parameters = double.bodies("/generate")[-1]["parameters"]
    assert parameters["grammar"] == {"type": "regex", "value": "(yes|no|maybe)"}
    assert parameters["top_n_tokens"] == 5
    assert len([body for body in double.bodies("/generate") if body["inputs"] == "Rate it:\n"]) == 1


def test_answers_are_no_patterns() -> None:
    from x_instruction.engines import tgi_wire

    answers = ("a.b", "(c)", "d|e", "[f]", r"g\h", "i*", "j-k", "{l}", "m^$", "n?", "o+", "ü é\n")
    value = tgi_wire.only(answers)["value"]
    assert all(re.fullmatch(value, answer) for answer in answers)
    assert not re.fullmatch(value, "axb")


def test_an_answer_that_is_not_listed_is_scored(double: Double) -> None:
    """The grammar lets a lone space through, too, so that one of the five is missing now and then."""
    double.max_top_n = 1
    found = one(make(double), Choice("Rate it:", LEVELS)).probabilities
    weights = [2.718281828459045 ** likelihood("Rate it:", level) for level in LEVELS]
    assert found == pytest.approx([weight / sum(weights) for weight in weights])


def test_answers_that_share_their_first_token_are_scored(double: Double) -> None:
    words = ("yes it is", "yes but")
    result = one(make(double), Choice("So:\n", words))
    weights = [2.718281828459045 ** likelihood("So:\n", word) for word in words]
    assert result.probabilities == pytest.approx([weight / sum(weights) for weight in weights])
    # The listing, and each answer's prompt.
    assert result.prompt_tokens == 4 + 7 + 6
    assert result.output_tokens == 3


def test_answers_that_share_their_first_token_where_nothing_scores(double: Double) -> None:
    double.unit = ""
    with pytest.raises(NotCapable, match="start with the same token 'yes'"):
        one(make(double), Choice("So:\n", ("yes it is", "yes but")))


def test_without_grammars(double: Double) -> None:
    double.grammar, double.max_top_n = False, 100
    result = one(make(double), Choice("Rate it:\n", ("yes", "no")))
    assert result.probabilities == pytest.approx(first_tokens("Rate it:\n", ("yes", "no")))
    assert "grammar" not in double.bodies("/generate")[-1]["parameters"]


def test_a_forbidden_token_has_no_probability(double: Double) -> None:
    engine = make(double)
    tops = [{"id": n, "text": t, "logprob": v, "special": False} for n, t, v in ((3, "yes", -0.5), (4, "no", None))]
    details = {
        "finish_reason": "length",
        "generated_tokens": 1,
        "prefill": [],
        "tokens": tops[:1],
        "top_tokens": [tops],
    }
    double.script("/generate", lambda _: web.json_response({"generated_text": "yes", "details": details}))
    result = one(engine, Choice("So:\n", ("yes", "no")))
    assert len(double.bodies("/generate")) > 2, "the other one was scored"
    assert sum(result.probabilities) == pytest.approx(1)


# Score


@pytest.mark.parametrize("unit", ["bytes", "characters"])
@pytest.mark.parametrize("most", [0, 2])
@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [("Jibu:\n", "Habari ya asubuhi."), ("ตอบ:\n", "สวัสดี 🌍 ชาวโลก"), ("é:", " première Ñandú"), ("", "Habari ya leo")],
)
def test_score(double: Double, unit: str, most: int, prompt: str, continuation: str) -> None:
    double.unit = unit
    engine = make(double)
    result = one(engine, Scoring(prompt, continuation, most))
    tokens = len(pieces(continuation))
    assert isinstance(result, Scored)
    assert result.log_likelihood == pytest.approx(likelihood(prompt, continuation, most))
    assert result.tokens == (min(most, tokens) if most else tokens)
    assert result.prompt_tokens == 1 + len(pieces(prompt)) + tokens


def test_a_token_across_the_boundary_belongs_to_the_continuation(double: Double) -> None:
    result = one(make(double), Scoring("Jibu: ", "5"))
    assert result.tokens == 1
    assert result.log_likelihood == pytest.approx(likelihood("Jibu:", " 5"))


def test_the_very_first_token_has_no_probability(double: Double) -> None:
    double.adds_bos, double.template = False, ""
    assert one(make(double), Scoring("", "Habari ya leo")).tokens == 2


def test_an_empty_continuation(double: Double) -> None:
    with pytest.raises(EngineError, match="an empty continuation cannot be scored"):
        one(make(double), Scoring("a", ""))


def test_too_long_to_score(double: Double) -> None:
    double.info |= {"max_input_tokens": 20, "max_total_tokens": 40}
    assert one(make(double), Scoring("a", " b" * 30)).reason == "engine_too_long"


def test_tokens_that_do_not_fit_together(double: Double) -> None:
    engine = make(double, retries=0)
    double.script("/tokenize", lambda _: web.json_response([{"id": 7, "text": "a", "start": 0, "stop": 1}]))
    result = one(engine, Scoring("a", "b"))
    assert result.reason == "engine_bad_answer"
    assert "different tokens" in result.message


# Chat


def test_chat_is_rendered_by_the_server(double: Double) -> None:
    """The template starts with the token that /generate puts in front: it is taken off."""
    engine = make(double)
    result = one(engine, Completion(CHAT, 5, temperature=0.5, top_k=64))
    body = double.bodies("/generate")[-1]
    assert body["inputs"] == "[system] Be brief.\n[user] Ask something.\n[assistant]"
    assert body["parameters"]["top_k"] == 64
    rendered = double.bodies("/chat_tokenize")[-1]
    assert rendered == {"messages": [{"role": role, "content": content} for role, content in CHAT]}
    assert isinstance(result, Completed)
    assert double.bodies("/v1/chat/completions") == []


def test_a_tokenizer_that_adds_nothing(double: Double) -> None:
    double.adds_bos = False
    engine = make(double)
    one(engine, Completion(CHAT, 5))
    assert double.bodies("/generate")[-1]["inputs"].startswith("<s>[system]")
    assert one(engine, Choice(CHAT, ("yes", "no"))).prompt_tokens == 1 + len(
        pieces(double.bodies("/generate")[-1]["inputs"][3:])
    )


def test_chat_can_be_chosen_and_scored(double: Double) -> None:
    engine = make(double)
    text = "[system] Be brief.\n[user] Ask something.\n[assistant]"
    assert one(engine, Choice(CHAT, ("yes", "no"))).probabilities == pytest.approx(first_tokens(text, ("yes", "no")))
    assert one(engine, Scoring(CHAT, " yes")).log_likelihood == pytest.approx(likelihood(text, " yes"))


@pytest.fixture
def zephyr(double: Double) -> Double:
    """A template that starts without the token that the tokenizer adds."""
    double.template = ""
    return double


def test_chat_that_cannot_be_rendered_exactly_is_routed(zephyr: Double) -> None:
    engine = make(zephyr, adapter="lora", extra={"frequency_penalty": 0.5})
    assert engine.abilities.chat == "routed"
    request = Completion(CHAT, 5, temperature=0.5, top_p=0.9, stop=("first", "b", "c", "d", "e"), seed=3)
    result = one(engine, request)
    assert result == Completed("A ", "stop", len(pieces("[system] Be brief.\n[user] Ask something.\n[assistant]")), 2)
    assert zephyr.bodies("/v1/chat/completions")[-1] == {
        "model": "lora",
        "messages": [{"role": role, "content": content} for role, content in CHAT],
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 4,
        "stop": ["first", "b", "c", "d"],
        "frequency_penalty": 0.5,
        "max_tokens": 5,
    }
    one(engine, Completion(CHAT, 5))
    assert zephyr.bodies("/v1/chat/completions")[-1]["temperature"] == 0


def test_routed_chat_can_be_chosen(zephyr: Double) -> None:
    result = one(make(zephyr), Choice(CHAT, ("yes", "no", "maybe")))
    ids = list(map(number, pieces("[system] Be brief.\n[user] Ask something.\n[assistant]")))
    weights = [2.718281828459045 ** logprob(ids, number(word)) for word in ("yes", "no", "maybe")]
    assert result.probabilities == pytest.approx([weight / sum(weights) for weight in weights])


@pytest.mark.parametrize(
    ("request_", "settings", "message"),
    [
        (Completion(CHAT, 5, top_k=5), {}, r"has no top_k \(set it to 0\)"),
        (Completion(CHAT, 5), {"stream": True}, r"has no streaming \(set server.stream = false\)"),
        (Completion(CHAT, 5), {"extra": {"best_of": 2}}, "has no best_of"),
        (Scoring(CHAT, "a"), {}, "has no log-probabilities of this kind"),
    ],
)
def test_what_routed_chat_cannot(zephyr: Double, request_: Request, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(NotCapable, match=message):
        make(zephyr, **settings).plan([request_])


def test_routed_chat_is_cut_to_its_room(zephyr: Double) -> None:
    zephyr.info |= {"max_input_tokens": 50, "max_total_tokens": 60}
    engine = make(zephyr)
    found = answers(engine, Completion((("user", "elfu " * 38),), 30), Completion((("user", "elfu " * 60),), 30))
    assert isinstance(found[0], Completed)
    assert zephyr.bodies("/v1/chat/completions")[-1]["max_tokens"] == 60 - 46
    assert found[1].reason == "engine_too_long"


def test_a_role_that_the_template_refuses(double: Double) -> None:
    engine = make(double)
    double.script("/chat_tokenize", says(422, '{"error": "Template error: no system", "error_type": "template_error"}'))
    assert one(engine, Completion(CHAT, 5)) == Failed(
        "engine_refused", "422 Template error: no system (template_error)"
    )


def test_nothing_is_left_open(double: Double) -> None:
    engine = make(double, stream=True)
    going = engine.answer([Completion("a", 3)] * 20)
    next(going)
    going.close()
    assert isinstance(one(engine, Completion("a", 3)), Completed)
