"""Answers of servers with a part replaced by anything that JSON can hold, for tests and ``benchmarks/fuzz.py``."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NamedTuple

from hypothesis import strategies as st

from x_instruction.engines import Choice, Chosen, Completed, Completion, Failed, Request, Result, Scored, Scoring
from x_instruction.engines.remote import batch, openai_protocol, tgi_protocol
from x_instruction.engines.remote.openai_protocol import MALFORMED, NoLogprobs, malformed
from x_instruction.hashing import digest

USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
TOP = [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.5}]


class Source(NamedTuple):
    """A kind of answer: a good one, and what the package makes of it."""

    name: str
    answer: Any
    read: Callable[[Any], Result]


def of_openai(request: Request, body: Any) -> Result:
    """What the engine makes of the body of an answer."""
    try:
        if isinstance(request, Scoring):
            return openai_protocol.scored(request, openai_protocol.first_choice(body))
    except MALFORMED as error:
        return Failed("engine_bad_answer", malformed(error))
    return of_file(request, {"custom_id": "x", "response": {"status_code": 200, "body": body}})


def of_file(request: Request, line: Any) -> Result:
    """What batch files make of a line of results."""
    if not isinstance(line, dict):
        return Failed("engine_bad_answer", "no object")
    try:
        digest(line)
        return batch.parse_result(request, line)
    except RecursionError:
        # As ``batch_results`` does.
        return Failed("engine_bad_answer", "nested too deeply")


def of_tgi(read: Callable[[Any], Result], answer: Any) -> Result:
    """What the engine for Text Generation Inference makes of an answer."""
    try:
        return read(answer)
    except NoLogprobs as error:
        return Failed("engine_bad_answer", str(error))
    except MALFORMED as error:
        return Failed("engine_bad_answer", malformed(error))


def _tgi_choice(answer: Any) -> Result:
    request = Choice("Good?", ("yes", "no"))
    logprobs, tokens = tgi_protocol.top_logprobs(answer), tgi_protocol.tokens(answer, {})
    return openai_protocol.chosen(tgi_protocol.match_answers(request.answers, logprobs), request, logprobs, tokens)


def _tgi_score(answers: Any) -> Result:
    tokens = [{"id": int(t["id"]), "start": int(t["start"]), "stop": int(t["stop"])} for t in answers["tokenize"]]
    return tgi_protocol.scored(tokens, answers["generate"], 6, 0)


def _tgi_limits(answer: Any) -> Result:
    found = tgi_protocol.limits(answer)
    assert isinstance(found.commit, str)
    assert all(isinstance(number, int) for number in (found.prompt, found.total, found.stops, found.concurrent))
    return Completed(found.model, "stop", 0, 0)


def _tgi_stream(answer: Any) -> Result:
    content = f"data: {json.dumps(answer)}\n\n".encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 64):
            yield content[start : start + 64]

    reading = tgi_protocol.last_event(chunks())
    try:
        # It awaits nothing but the chunks, which are there.
        reading.send(None)
    except ConnectionError as error:
        return Failed("engine_unavailable", str(error))
    except StopIteration as done:
        status, event = done.value
        if status != 200:
            return of_file(Completion("Write:", 8), {"response": {"status_code": status, "body": json.loads(event)}})
        return tgi_protocol.completed(Completion("Write:", 8), json.loads(event), {}, 8)
    raise AssertionError("it waits")


OPENAI: list[tuple[Request, dict[str, Any]]] = [
    (
        Completion("Write:", 8, 0.7, 0.9, 0, ("\n",), 1),
        {"choices": [{"text": "What is rice?\n", "finish_reason": "stop"}], "usage": USAGE},
    ),
    (
        Completion((("user", "Write"),), 8, 0.7, 0.9, 0, (), 1),
        {"choices": [{"message": {"content": "What is rice?"}, "finish_reason": "length"}], "usage": USAGE},
    ),
    (
        Choice("Good?", ("yes", "no")),
        {
            "choices": [{"text": "yes", "logprobs": {"top_logprobs": [{"yes": -0.1, "no": -2.5}]}}],
            "usage": USAGE,
        },
    ),
    (
        Choice((("user", "Good?"),), ("yes", "no")),
        {"choices": [{"message": {}, "logprobs": {"content": [{**TOP[0], "top_logprobs": TOP}]}}], "usage": USAGE},
    ),
    (
        Scoring("Write:", " rice"),
        {"choices": [{"logprobs": {"text_offset": [0, 6], "token_logprobs": [None, -0.5]}}], "usage": USAGE},
    ),
]
TGI_TOKENS = [{"id": 5, "text": "yes", "logprob": -0.1, "special": False}]
TGI = {
    "generated_text": "What is rice?",
    "details": {
        "finish_reason": "eos_token",
        "generated_tokens": 3,
        "prefill": [{"id": 1, "logprob": None}, {"id": 2, "logprob": -0.5}],
        "tokens": TGI_TOKENS,
        "top_tokens": [[*TGI_TOKENS, {"id": 6, "text": "no", "logprob": -2.5, "special": False}]],
    },
}
TOKENIZED = [{"id": 1, "start": 0, "stop": 6}, {"id": 2, "start": 6, "stop": 11}]
INFO = {
    **{"model_id": "m", "model_sha": "0" * 40, "max_input_tokens": 4096, "max_total_tokens": 8192},
    **{"max_stop_sequences": 4, "max_best_of": 2, "max_concurrent_requests": 128},
}
LINE = {"custom_id": "x", "response": {"status_code": 200, "body": OPENAI[0][1]}, "error": None}
SOURCES = [
    *(
        Source(
            f"openai {type(request).__name__}, {'plain' if isinstance(request.prompt, str) else 'chat'}", answer, read
        )
        for request, answer in OPENAI
        for read in (partial(of_openai, request),)
    ),
    Source("line of a batch file", LINE, partial(of_file, OPENAI[0][0])),
    Source("tgi completion", TGI, partial(of_tgi, lambda answer: tgi_protocol.completed(OPENAI[0][0], answer, {}, 8))),
    Source("tgi choice", TGI, partial(of_tgi, _tgi_choice)),
    Source("tgi score", {"tokenize": TOKENIZED, "generate": TGI}, partial(of_tgi, _tgi_score)),
    Source("tgi info", INFO, partial(of_tgi, _tgi_limits)),
    Source("tgi stream", TGI, partial(of_tgi, _tgi_stream)),
]

texts = st.text(st.characters(), max_size=12) | st.sampled_from(["\ud83d", "\x00", "\u202e", "x" * 10_000, "NaN", "-1"])
numbers = st.integers() | st.sampled_from([10**30, -1, 2**63]) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def nested(depth: int) -> Any:
    """A list in a list, and so on."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value within a JSON value, its own first."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(found for key in keys for found in places(value[key], (*path, key)))]


def replace(answer: Any, path: tuple[Any, ...], value: Any) -> None:
    """Replace the value at a path, or remove it if the new one is ``...``. A path that is gone is left alone."""
    place = answer
    try:
        for key in path[:-1]:
            place = place[key]
        if isinstance(place, dict) and not isinstance(path[-1], str):
            return
        if value is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    except (KeyError, IndexError, TypeError):
        return


@st.composite
def hostile(draw: st.DrawFn, answer: Any) -> Any:
    """An answer with one or two parts replaced or removed."""
    whole = {"": copy.deepcopy(answer)}
    paths = draw(st.lists(st.sampled_from(places({"": answer})[1:]), min_size=1, max_size=2))
    for path in paths:
        replace(whole, path, draw(values | st.just(...) | st.sampled_from([100, 900]).map(nested)))
    return whole.get("")


def check(result: Result) -> None:
    """Check that a result can be stored and its token counts are plausible."""
    assert 0 <= result.prompt_tokens < 1 << 40
    assert 0 <= result.output_tokens < 1 << 40
    if isinstance(result, Failed):
        assert "\n" not in result.message
    if isinstance(result, Completed):
        text = result.text.encode()
        assert b"\0" not in text
    if isinstance(result, Chosen):
        assert abs(sum(result.probabilities) - 1) < 1e-6
    if isinstance(result, Scored):
        assert abs(result.log_likelihood) < float("inf")
