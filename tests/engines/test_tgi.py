"""The tgi engine with a server made from the API description: from the first probe to a text."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from aiohttp import web
from engines import tgi_spec
from engines.tgi_asking import CHAT, answers, make, one, says
from engines.tgi_double import Double, Scripted, documented, in_stream, pieces

from x_instruction.config.model import Model, Server
from x_instruction.engines import (
    Choice,
    Completed,
    Completion,
    Failed,
    Prompt,
    Scoring,
    open_engine,
)
from x_instruction.engines.remote.tgi import TgiEngine
from x_instruction.errors import EngineError, NotCapable

KEY = "hf_very_secret"


# Before the first request


def test_an_address_is_required() -> None:
    with pytest.raises(EngineError, match=r"server.url is not set"):
        make()


def test_an_unreachable_server_is_reported() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(EngineError, match=r"cannot connect.*check that the server is running"):
            make(url=f"http://127.0.0.1:{held.getsockname()[1]}")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (says(200, "<!doctype html><p>hello", content_type="text/html"), r"a web page \(HTML\), not an API"),
        (says(200, "plain"), "the answer is not JSON: plain"),
        (
            says(200, '{"object": "list", "data": []}'),
            r"is not a Text Generation Inference server \(/info has no model_id",
        ),
        (says(200, '{"model_id": "toy", "max_total_tokens": null}'), "is not a Text Generation Inference server"),
        (says(200, "[]"), "is not a Text Generation Inference server"),
        (says(404, '{"detail": "Not Found"}'), "/info answers 404 Not Found: check the address"),
        (says(503, '{"error": "unhealthy", "error_type": "healthcheck"}'), r"503 unhealthy \(healthcheck\)"),
        (says(302, "", headers={"Location": "https://login.example/"}), "redirects to https://login.example/"),
    ],
)
def test_another_server_is_refused(double: Double, answer: Scripted, message: str) -> None:
    double.script("/info", answer, answer, answer)
    with pytest.raises(EngineError, match=message):
        make(double)


def test_a_wrong_key_is_named_and_not_shown(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    double.script("/info", says(401, "who are you?"))
    with pytest.raises(EngineError, match=r"401 who are you\?; the key is missing: set X_INSTRUCTION"):
        make(double)
    monkeypatch.setenv("X_INSTRUCTION_API_KEY", KEY)
    double.script("/info", says(401, f"no {KEY}"))
    with pytest.raises(EngineError, match="check the key in X_INSTRUCTION_API_KEY") as caught:
        make(double)
    assert KEY not in str(caught.value)
    assert double.headers[-1]["Authorization"] == f"Bearer {KEY}"


def test_another_model_names_both(double: Double) -> None:
    with pytest.raises(EngineError, match="serves the model 'toy', but the recipe names 'other/model'"):
        make(double, "other/model")


def test_another_commit_names_both(double: Double) -> None:
    with pytest.raises(EngineError, match=f"at commit {double.info['model_sha']}, but the recipe names {'0' * 40}"):
        make(double, revision="0" * 40)
    assert make(double, revision=double.info["model_sha"]).revision == double.info["model_sha"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"details": False, "stop": ["x"]}, "sets details, stop, which engine = .tgi. sets itself"),
        ({"best_of": 0}, "best_of to 0"),
        ({"best_of": "2"}, "best_of to '2'"),
        ({"best_of": True}, "best_of to True"),
    ],
)
def test_invalid_parameters_are_refused(double: Double, extra: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        make(double, extra=extra)


def test_a_server_that_completes_no_prompt_is_reported(double: Double) -> None:
    double.always["/generate"] = lambda body: documented("/generate", 424)
    with pytest.raises(EngineError, match="completes no prompt: it answered '424 Request failed during generation"):
        make(double)


def test_probes_find_capabilities_and_limits(double: Double) -> None:
    engine = open_engine(Model(name="toy", engine="tgi", server=Server(url=f"{double.url}/v1/")))
    assert isinstance(engine, TgiEngine)
    assert engine.capabilities == {"complete", "choose", "score"}
    assert engine.chat
    assert engine.revision == double.info["model_sha"]
    assert (engine.probed.chat, engine.probed.bos, engine.probed.logprobs) == ("rendered", "<s>", 5)
    double.info["model_sha"] = None
    assert make(double, revision="v2").revision == "served:v2"


def test_a_server_with_few_capabilities(double: Double) -> None:
    double.template, double.max_top_n, double.unit = None, 0, ""
    engine = make(double)
    assert engine.capabilities == {"complete"}
    assert not engine.chat
    with pytest.raises(
        NotCapable, match=r"cannot choose: it returns no most likely tokens \(its answer: '422 Input valid"
    ):
        engine.plan([Choice("a", ("1", "2"))])
    with pytest.raises(NotCapable, match="cannot score: /tokenize returns no offsets of tokens"):
        engine.plan([Scoring("a", "b")])
    with pytest.raises(NotCapable, match="toy has no chat template on this server"):
        engine.plan([Completion(CHAT, 5)])


def test_a_server_without_a_tokenizer(double: Double) -> None:
    double.always["/tokenize"] = lambda body: documented("/tokenize", 404)
    engine = make(double)
    assert engine.capabilities == {"complete", "choose"}
    # The tokens of a long prompt are unknown: ask for what fits after the longest one.
    assert isinstance(one(engine, Completion("é" * 600, 2000)), Completed)
    assert double.bodies("/generate")[-1]["parameters"]["max_new_tokens"] == 1024


# Complete


def test_sampling_parameters_are_sent(double: Double) -> None:
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


def test_greedy_decoding_sends_no_sampling_parameters(double: Double) -> None:
    assert one(make(double), Completion("a", 3, top_p=0.5, top_k=7, seed=9)) == Completed(
        "A first line", "length", 2, 3
    )
    parameters = double.bodies("/generate")[-1]["parameters"]
    assert parameters["do_sample"] is False
    assert parameters.keys().isdisjoint({"temperature", "top_p", "top_k", "seed", "stop", "best_of"})


def test_an_answer_ends_at_the_end_token(double: Double) -> None:
    result = one(make(double), Completion("a", 100))
    assert result == Completed(double.text, "stop", 2, len(pieces(double.text)))


def test_recipe_parameters_are_merged(double: Double) -> None:
    extra = {"repetition_penalty": 1.1, "typical_p": 0.9, "grammar": {"type": "regex", "value": ".*"}}
    one(make(double, extra=extra), Completion("a", 3, temperature=0.5))
    assert double.bodies("/generate")[-1]["parameters"].items() >= extra.items()


@pytest.mark.parametrize("prompt", ["a", CHAT])
def test_null_removes_a_parameter(double: Double, prompt: Prompt) -> None:
    double.template = ""
    one(make(double, extra={"seed": None, "best_of": None}), Completion(prompt, 3, temperature=0.5))
    path, body = double.seen[-1]
    assert path == ("/generate" if prompt == "a" else "/v1/chat/completions")
    assert {"seed", "best_of"}.isdisjoint(body.get("parameters", body))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("stream", [False, True])
def test_best_of_samples_without_a_seed(double: Double, temperature: float, stream: bool) -> None:
    """It samples, has no seed, does not stream, and costs all of its sequences."""
    engine = make(double, extra={"best_of": 5, "seed": 3}, stream=stream)
    result = one(engine, Completion("a", 3, temperature=temperature, seed=9))
    parameters = double.bodies("/generate")[-1]["parameters"]
    assert parameters["best_of"] == double.info["max_best_of"] == 2
    assert parameters["do_sample"]
    assert "seed" not in parameters
    assert double.bodies("/generate_stream") == []
    assert result.output_tokens == 3 + 3


def test_more_stops_than_the_server_accepts_are_cut_here(double: Double) -> None:
    double.info["max_stop_sequences"] = 2
    result = one(make(double), Completion("a", 50, stop=("x", "y", "second", ".")))
    assert double.bodies("/generate")[-1]["parameters"]["stop"] == ["x", "y"]
    assert result.text == "A first line"
    assert result.finish_reason == "stop"
    assert result.output_tokens == len(pieces(double.text)), "all generated tokens are counted, also those that are cut"


def test_max_tokens_leave_room_for_the_prompt(double: Double) -> None:
    """Tokens, not bytes, decide; the server counts only where bytes leave it open."""
    double.info |= {"max_input_tokens": 50, "max_total_tokens": 60}
    engine = make(double)
    double.seen.clear()
    requests = [Completion(" ".join(["elfu"] * n), 30) for n in (2, 40, 49, 50, 80)]
    found = answers(engine, *requests)
    assert [body["parameters"]["max_new_tokens"] for body in double.bodies("/generate")] == [30, 19, 10]
    assert [isinstance(result, Completed) for result in found] == [True, True, True, False, False]
    assert found[3] == Failed(
        "engine_too_long", "the prompt has 51 tokens, the server accepts 50, and 60 with the answer"
    )
    assert len(double.bodies("/tokenize")) == 4


def test_concurrency_is_limited_by_the_server(double: Double) -> None:
    double.info["max_concurrent_requests"] = 3
    engine = make(double)
    double.hold = 0.01
    assert all(isinstance(result, Completed) for result in answers(engine, *[Completion("a", 3)] * 40))
    assert double.most == 3


@pytest.mark.parametrize("required", [False, True])
def test_every_documented_success_is_read(double: Double, required: bool) -> None:
    """Answers leave out every optional field of the description."""
    engine = make(double)
    made = tgi_spec.example("GenerateResponse", required)
    double.script("/generate", lambda body: web.json_response(made))
    assert one(engine, Completion("a", 3)) == Completed("test", *(("stop", 0, 0) if required else ("length", 1, 2)))
    engine = make(double, stream=True)
    made = tgi_spec.example("StreamResponse", required) | {"generated_text": "test"}
    double.script("/generate_stream", lambda body: in_stream(made))
    assert one(engine, Completion("a", 3)) == Completed("test", *(("stop", 0, 0) if required else ("length", 1, 1)))
