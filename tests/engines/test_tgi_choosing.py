"""Choosing, scoring and chat prompts with Text Generation Inference, against the double's toy model."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp import web
from engines.tgi_asking import CHAT, answers, make, one, says
from engines.tgi_double import BOS, Double, logprob, number, pieces

from x_instruction.engines import Choice, Chosen, Completed, Completion, Failed, Request, Scored, Scoring
from x_instruction.engines.remote import tgi_protocol
from x_instruction.errors import EngineError, NotCapable

# Choose

LEVELS = tuple(f" {level}" for level in range(1, 6))


def first_tokens(text: str, words: tuple[str, ...]) -> list[float]:
    """Probabilities that the toy model gives the first token of each answer."""
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


def test_answers_are_escaped_in_the_grammar() -> None:
    answers = ("a.b", "(c)", "d|e", "[f]", r"g\h", "i*", "j-k", "{l}", "m^$", "n?", "o+", "ü é\n")
    value = tgi_protocol.only(answers)["value"]
    assert all(re.fullmatch(value, answer) for answer in answers)
    assert not re.fullmatch(value, "axb")


def test_an_answer_without_a_listed_probability_is_scored(double: Double) -> None:
    """The grammar also allows a single space, so that one of the five is sometimes not listed."""
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


def test_answers_that_share_their_first_token_need_scoring(double: Double) -> None:
    double.unit = ""
    with pytest.raises(NotCapable, match="start with the same token 'yes'"):
        one(make(double), Choice("So:\n", ("yes it is", "yes but")))


def test_a_server_without_grammars_scores_answers(double: Double) -> None:
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
def test_continuations_are_scored(double: Double, unit: str, most: int, prompt: str, continuation: str) -> None:
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


def test_an_empty_continuation_is_refused(double: Double) -> None:
    with pytest.raises(EngineError, match="an empty continuation cannot be scored"):
        one(make(double), Scoring("a", ""))


def test_a_prompt_too_long_to_score_fails(double: Double) -> None:
    double.info |= {"max_input_tokens": 20, "max_total_tokens": 40}
    assert one(make(double), Scoring("a", " b" * 30)).reason == "engine_too_long"


def test_inconsistent_tokens_fail(double: Double) -> None:
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


def test_a_tokenizer_without_a_bos_token(double: Double) -> None:
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
    assert engine.probed.chat == "routed"
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


def test_routed_chat_can_choose(zephyr: Double) -> None:
    result = one(make(zephyr), Choice(CHAT, ("yes", "no", "maybe")))
    ids = list(map(number, pieces("[system] Be brief.\n[user] Ask something.\n[assistant]")))
    weights = [2.718281828459045 ** logprob(ids, number(word)) for word in ("yes", "no", "maybe")]
    assert result.probabilities == pytest.approx([weight / sum(weights) for weight in weights])


@pytest.mark.parametrize(
    ("request_", "settings", "message"),
    [
        (Completion(CHAT, 5, top_k=5), {}, r"does not support top_k \(set it to 0\)"),
        (Completion(CHAT, 5), {"stream": True}, r"does not support streaming \(set server.stream = false\)"),
        (Completion(CHAT, 5), {"extra": {"best_of": 2}}, "does not support best_of"),
        (Scoring(CHAT, "a"), {}, "does not support the log-probabilities that this needs"),
    ],
)
def test_routed_chat_refuses_unsupported_requests(
    zephyr: Double, request_: Request, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(NotCapable, match=message):
        make(zephyr, **settings).plan([request_])


def test_routed_chat_is_truncated_to_the_context(zephyr: Double) -> None:
    zephyr.info |= {"max_input_tokens": 50, "max_total_tokens": 60}
    engine = make(zephyr)
    found = answers(engine, Completion((("user", "elfu " * 38),), 30), Completion((("user", "elfu " * 60),), 30))
    assert isinstance(found[0], Completed)
    assert zephyr.bodies("/v1/chat/completions")[-1]["max_tokens"] == 60 - 46
    assert found[1].reason == "engine_too_long"


def test_a_role_refused_by_the_template_fails_the_request(double: Double) -> None:
    engine = make(double)
    double.script("/chat_tokenize", says(422, '{"error": "Template error: no system", "error_type": "template_error"}'))
    assert one(engine, Completion(CHAT, 5)) == Failed(
        "engine_refused", "422 Template error: no system (template_error)"
    )


def test_a_template_without_a_system_role_is_found_by_the_probe(double: Double) -> None:
    refused = '{"error": "Template error: System role not supported", "error_type": "template_error"}'
    double.script("/chat_tokenize", says(422, refused))
    engine = make(double)
    assert not engine.probed.system_role
    assert isinstance(one(engine, Completion(CHAT, 5)), Completed)
    assert double.bodies("/generate")[-1]["inputs"] == "[user] Be brief.\n\nAsk something.\n[assistant]"


def test_requests_work_after_a_stream_is_closed(double: Double) -> None:
    engine = make(double, stream=True)
    going = engine.answer([Completion("a", 3)] * 20)
    next(going)
    going.close()
    assert isinstance(one(engine, Completion("a", 3)), Completed)
