"""Answers of servers with a part replaced by anything that JSON can hold, for tests and ``benchmarks/fuzz.py``."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from x_instruction.engines import Choice, Completed, Completion, Failed, Request, Result
from x_instruction.engines.remote import batch, tgi_protocol
from x_instruction.engines.remote.openai_protocol import MALFORMED, malformed

USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
TOP = [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.5}]
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
]
TGI = {
    "generated_text": "What is rice?",
    "details": {"finish_reason": "eos_token", "generated_tokens": 3, "prefill": [], "tokens": [], "top_tokens": [TOP]},
}

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


def openai_result(request: Request, body: Any) -> Result:
    """The result of the engine and of batch files for the body of an answer."""
    return batch.parse_result(request, {"custom_id": "x", "response": {"status_code": 200, "body": body}})


def tgi_result(body: Any) -> Result:
    """The result of the tgi engine for the body of an answer."""
    request = Completion("Write:", 8, 0.7, 0.9, 0, ("\n",), 1)
    try:
        return tgi_protocol.completed(request, body, {}, 8)
    except MALFORMED as error:
        return Failed("engine_bad_answer", malformed(error))


def check(result: Result) -> None:
    """Check that a result can be stored and its token counts are plausible."""
    assert 0 <= result.prompt_tokens < 1 << 40
    assert 0 <= result.output_tokens < 1 << 40
    if isinstance(result, Completed):
        text = result.text.encode()
        assert b"\0" not in text
