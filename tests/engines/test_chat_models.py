"""Chat models of all kinds, over HTTP and in process: thinking, no system role, verbose, refusing, rambling."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import factories
import pytest
from engines.openai_server import MODEL, OpenAIServer, reply, write_recipe

from x_instruction.config.generate import Generate
from x_instruction.config.model import Model, Server
from x_instruction.config.recipe import load
from x_instruction.engines import Choice, Completion, Engine, Request, Result, open_engine
from x_instruction.engines.remote import openai_protocol
from x_instruction.engines.remote.batch import request_line
from x_instruction.errors import EngineError
from x_instruction.generate import generate
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import NullProgress
from x_instruction.records import Candidate, Dropped, Passage, Rated
from x_instruction.storage.shard_key import StageKey

Body = dict[str, Any]
Fault = Callable[[str, Body], tuple[int, Any] | None]
PROMPT = "[system]\nWrite one {style} in {instruction_language}.\n[user]\n{passage}\n"
TEXTS = ("Lohikeitto on kalakeitto.", "Sauna on lämmin huone.", "Järvi on syvä ja kylmä.")
SYSTEM, THINKING = "system", "chat_template_kwargs"


def question(body: Body) -> str:
    """The answer of a plain server: equal seeds give equal answers."""
    draw = hashlib.sha256(str(body.get("seed")).encode()).digest()
    verb, thing = ("cook", "grow", "paint", "sell")[draw[0] % 4], ("rice", "goats", "maps", "nets")[draw[1] % 4]
    return f"How did people {verb} {thing} in the year {draw[2] + 1700}?"


def refusing(refused: Sequence[str], write: Callable[[Body], str] = question) -> Fault:
    """A server that answers chat prompts, and rejects requests with a system message or with a key that it lacks."""

    def answer(path: str, body: Body) -> tuple[int, Any] | None:
        if not path.endswith("/chat/completions"):
            return (404, {"detail": "Not Found"}) if path.endswith("/completions") else None
        if SYSTEM in refused and body["messages"][0]["role"] == "system":
            return 400, {"error": {"message": "System role not supported"}}
        if THINKING in refused and THINKING in body:
            return 400, {"error": {"message": "Unrecognized request argument supplied: chat_template_kwargs"}}
        made = reply(path, body)
        if not body.get("logprobs"):
            made["choices"][0]["message"]["content"] = write(body)
        return 200, made

    return answer


def thinking(body: Body) -> str:
    if body.get(THINKING, {}).get("enable_thinking") is False:
        return question(body)
    return f"<think>\nRequest: What is it?\n</think>\n\n{question(body)}"


SERVERS: dict[str, Fault] = {
    "thinks": refusing((), lambda body: f"<think>\nThe text is on soup.\n\nHow so?\n</think>\n\n{question(body)}"),
    "thinks, opened by its template": refusing((), lambda body: f"Soup.\n</think>\n\nRequest: {question(body)}"),
    "thinks by default": refusing((), thinking),
    "thinks and knows no switch": refusing((THINKING,), thinking),
    "refuses a system message": refusing((SYSTEM,)),
    "refuses both": refusing((SYSTEM, THINKING)),
    "writes a preamble": refusing((), lambda body: f"Sure! Here is a fitting question:\n\n{question(body)}"),
    "writes markdown": refusing((), lambda body: f"```\n**Request:** {question(body)}\n```\n\nThis asks for details."),
}


@pytest.fixture
def prompt(tmp_path: Path) -> str:
    path = tmp_path / "prompt.txt"
    path.write_text(PROMPT, "utf-8")
    return str(path)


def written(engine: Engine, prompt: str, texts: Sequence[str] = TEXTS, **more: Any) -> list[Candidate | Dropped]:
    settings = Generate(model=Model(name="m"), prompt=prompt, candidates=2, max_copy=1.0, **more)

    def ask(requests: Sequence[Request]) -> list[Result]:
        found: dict[int, Result] = {}
        for batch in engine.plan(requests):
            for position, result in engine.answer([requests[row] for row in batch.rows], batch.shared):
                found[batch.rows[position]] = result
        return [found[row] for row in range(len(requests))]

    return list(generate([factories.passage(text, "fi") for text in texts], settings, engine, ask, 3))


def served(url: str, **more: Any) -> Engine:
    return open_engine(Model(name=MODEL, engine="openai", server=Server(url=url, retries=0), **more))


def instructions(outcomes: Sequence[Candidate | Dropped]) -> list[str]:
    return [f"{o.id}: {o.instruction if isinstance(o, Candidate) else o.reason}" for o in outcomes]


# Servers


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The result with a plain server."""
    path = tmp_path_factory.mktemp("plain") / "prompt.txt"
    path.write_text(PROMPT, "utf-8")
    with OpenAIServer(fault=refusing(())) as server:
        found = written(served(server.url), str(path))
    assert all(isinstance(outcome, Candidate) for outcome in found)
    return instructions(found)


@pytest.mark.parametrize("name", SERVERS)
def test_rows_equal_those_of_a_plain_server(name: str, plain: list[str], prompt: str) -> None:
    with OpenAIServer(fault=SERVERS[name]) as server:
        assert instructions(written(served(server.url), prompt)) == plain


def test_requests_follow_the_probes_of_the_server() -> None:
    with OpenAIServer(fault=refusing(())) as server:
        engine: Any = served(server.url)
        sent = openai_protocol.body(Completion((("system", "a"), ("user", "b")), 4), engine.quirks)
    assert sent["messages"] == [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    assert sent[THINKING] == {"enable_thinking": False, "thinking": False}
    with OpenAIServer(fault=refusing((SYSTEM, THINKING))) as server:
        engine = served(server.url)
        for request in (
            Completion((("system", "a"), ("user", "b")), 4),
            Choice((("system", "a"), ("user", "b")), ("1",)),
        ):
            body = openai_protocol.body(request, engine.quirks)
            assert body["messages"] == [{"role": "user", "content": "a\n\nb"}]
            assert THINKING not in body
    with OpenAIServer(fault=refusing(())) as server:
        engine = served(server.url, enable_thinking=True)
        assert openai_protocol.body(Completion((("user", "b"),), 4), engine.quirks)[THINKING]["enable_thinking"] is True


def test_a_server_without_a_switch_for_thinking_is_reported() -> None:
    with (
        OpenAIServer(fault=refusing((THINKING,))) as server,
        pytest.raises(
            EngineError, match="does not accept chat_template_kwargs, with which thinking is turned on: remove"
        ),
    ):
        served(server.url, enable_thinking=True)


def test_thinking_needs_more_tokens(prompt: str) -> None:
    with OpenAIServer() as server:
        written(served(server.url), prompt, TEXTS[:1], thinking_tokens=1000, max_tokens=50)
        assert {body["max_tokens"] for _, body in server.asked if body.get("seed")} == {1050}


@pytest.mark.parametrize(("system_role", "roles"), [(True, ["system", "user"]), (False, ["user"])])
def test_batch_files_follow_the_recipe(system_role: bool, roles: list[str]) -> None:
    model = Model(name=MODEL, engine="batch", enable_thinking=False, server=Server(system_role=system_role))
    engine: Any = open_engine(model)
    body = request_line("1", Completion((("system", "a"), ("user", "b")), 4), engine.quirks)["body"]
    assert [message["role"] for message in body["messages"]] == roles
    assert body[THINKING]["enable_thinking"] is False
    plain: Any = open_engine(model.replace(enable_thinking=None))
    assert THINKING not in openai_protocol.body(Completion((("user", "b"),), 4), plain.quirks)


# A run of good, bad, refusing and rambling answers

VERBS = ("cook rice", "grow beans", "paint boats", "sell maps", "weave nets")
GOOD = "How did people {} in the year 1850?"
BAD = (
    "I'm sorry, but I can't help with that.",
    "Anteeksi, mutta I cannot read Finnish.",
    "Request: NONE",
    "<think>\nThe text is long, and",
    "What is this text about?",
    "Here is a fitting question:",
    "Well, the thing is that there are many, many, many, many things to say and",
    "Miten keittoa keitetään pääsiäisenä?",
)
OFF_TOPIC = "How are rockets launched from Florida?"


def mixed(path: str, body: Body) -> tuple[int, Any] | None:
    """Writes good, bad, refusing, rambling and off-topic answers. Rates the off-topic ones 1 and all others 5."""
    if not path.endswith("/chat/completions"):
        return (404, {"detail": "Not Found"}) if path.endswith("/completions") else None
    made = reply(path, body)
    draw = hashlib.sha256(str(body.get("seed")).encode()).digest()
    if body.get("logprobs"):
        level = "1" if OFF_TOPIC in body["messages"][-1]["content"] else "5"
        tokens = [{"token": str(n), "logprob": -0.01 if str(n) == level else -9.0} for n in range(1, 6)]
        made["choices"][0]["logprobs"] = {"content": [{"token": level, "logprob": -0.01, "top_logprobs": tokens}]}
        return 200, made
    kind = draw[0] % (len(BAD) + 4)
    verb = VERBS[draw[1] % len(VERBS)]
    text = BAD[kind] if kind < len(BAD) else OFF_TOPIC if kind == len(BAD) else f"Request: {GOOD.format(verb)}"
    cut = text in (BAD[3], BAD[6])
    made["choices"][0] |= {
        "message": {"role": "assistant", "content": text},
        "finish_reason": "length" if cut else "stop",
    }
    return 200, made


def test_invalid_answers_are_not_kept(tmp_path: Path) -> None:
    with OpenAIServer(fault=mixed) as server:
        recipe = load(write_recipe(tmp_path / "recipe.toml", server.url))
        recipe = recipe.replace(
            # One of the bad answers is Finnish.
            languages=("fi",),
            generate=recipe.generate.replace(candidates=6, min_chars=12),
            refine=recipe.refine.replace(min_score=3.5),
        )
        folder = execute(recipe, tmp_path / "run", 1, False, "rated", NullProgress())
    kept: list[str] = []
    reasons: dict[str, int] = {}
    for stage in (StageKey("candidate", 0), StageKey("rated", 0)):
        for report in folder.reports(stage):
            for reason, number in report.dropped.items():
                reasons[reason] = reasons.get(reason, 0) + number
    for tag in recipe.languages:
        for key in folder.shards(StageKey("rated", 0), tag):
            kept += [record.instruction for record in folder.read(key) if isinstance(record, Rated)]
    assert len(kept) >= 5
    assert {text for text in kept if text not in {GOOD.format(verb) for verb in VERBS}} == set()
    assert {"refusal", "not_answerable", "cut_off", "mentions_the_text", "empty", "below_threshold"} <= reasons.keys()


# A model in this process


@pytest.fixture(scope="module")
def local(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Engine]:
    def make(template: str) -> Engine:
        folder = tmp_path_factory.mktemp("chat") / "model"
        shutil.copytree(tiny_model, folder)
        (folder / "chat_template.jinja").write_text(template, "utf-8")
        return open_engine(Model(name=str(folder)))

    return make


def test_rows_of_a_local_model_with_such_a_template_equal_those_of_a_plain_one(
    local: Callable[[str], Engine], tmp_path: Path
) -> None:
    path = tmp_path / "prompt.txt"
    # The tiny model was trained on lines such as "article: How to cook rice".
    path.write_text("[system]\nA {language} text.\n[user]\n{passage} article:\n", "utf-8")
    body = "{% for m in messages %}{{ m.content }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    thinks = "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}"
    settings = {"max_tokens": 24, "min_chars": 1, "styles": ("search",)}
    kept = written(local(body), str(path), **settings)
    assert any(isinstance(outcome, Candidate) for outcome in kept), kept
    plain = instructions(kept)
    for template in (refuses + body, body + thinks, refuses + body + thinks):
        assert instructions(written(local(template), str(path), **settings)) == plain


def test_a_passage_is_read_once_for_all_styles(local: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that the model computes before it writes: those of the prompts' shared start, the passage, the styles."""
    engine: Any = local("{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}")
    computed = 0
    forward = engine._forward

    def count(ids: Any, mask: Any, cache: Any) -> Any:
        nonlocal computed
        computed += int(mask[:, -ids.shape[1] :].sum())
        return forward(ids, mask, cache)

    monkeypatch.setattr(engine, "_forward", count)
    text = "Lohikeitto on suomalainen kalakeitto. Kuori perunat ja keitä ne kypsiksi. " * 3
    styles = ("question", "instruction", "search")
    asked = Generate(model=Model(name="m"), styles=styles, candidates=3, max_tokens=1)
    sizes: list[int] = []

    def ask(requests: Sequence[Request]) -> list[Result]:
        sizes.extend(len(engine.encoder.prompt(request.prompt)) for request in requests)
        (batch,) = engine.plan(requests)
        found = dict(engine.answer([requests[row] for row in batch.rows], batch.shared))
        return [found[batch.rows.index(row)] for row in range(len(requests))]

    passages: list[Passage] = [factories.passage(text, "fi"), factories.passage(text.upper(), "fi")]
    list(generate(passages, asked, engine, ask, 0))
    tails = 6 * len(
        engine.encoder.text("</text>\n\nWrite the request in English, as a search query of a few words, " * 2)
    )
    start = len(engine.encoder.prompt((("user", " "),))) + sizes[0] - len(engine.encoder.text(text))
    assert computed < start + len(engine.encoder.text(text)) + len(engine.encoder.text(text.upper())) + tails
    assert computed < sum(sizes) / 2


def test_probabilities_of_a_scripted_rating_sum_to_one() -> None:
    _, made = mixed("/v1/chat/completions", {"messages": [{"content": "x"}], "logprobs": True}) or (0, {})
    tokens = made["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert sum(math.exp(token["logprob"]) for token in tokens) == pytest.approx(1, abs=0.02)
