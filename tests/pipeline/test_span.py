"""Spans: a model chooses the part of a passage that is an answer, and every character of it is in the passage."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import factories
import pytest
from engines.openai_server import OpenAIServer, reply, write_recipe

from x_instruction.config.generate import Generate, Span
from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe, load
from x_instruction.engines import Completed, Request, Result, open_engine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import EngineError, RecipeError, RunChanged
from x_instruction.generate import generate
from x_instruction.generate.span import find
from x_instruction.pipeline.batch import write
from x_instruction.pipeline.batch_results import read
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.preview import preview
from x_instruction.pipeline.progress import NullProgress
from x_instruction.records import Candidate, Dropped, Passage, text_digest
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey
from x_instruction.translate import Failure

PART = (
    "Lohikeitto on suomalainen kalakeitto.\n"
    "Kuori perunat ja keitä ne kypsiksi. ”Lisää lohi, kerma ja tilli”, sanoi äiti."
)
FINNISH = f"Etusivu Uutiset Kirjaudu\n{PART}\nSeuraa meitä somessa. Kuori perunat ja keitä ne kypsiksi."
THAI = "หน้าแรก ข่าว\nต้มยำเป็นอาหารไทยที่มีรสเปรี้ยวและเผ็ด ใส่ตะไคร้และใบมะกรูดลงในน้ำเดือด แล้วใส่กุ้ง\nติดตามเรา"
HINDI = "होम समाचार\nचाय बनाने के लिए पानी उबालें। फिर दूध और चीनी डालें।\nहमें फॉलो करें"


@pytest.mark.parametrize(
    ("text", "answer", "part"),
    [
        (FINNISH, "First: Lohikeitto on suomalainen kalakeitto.\nLast: ja tilli”, sanoi äiti.", PART),
        # Marks around the quotes, markup, an ellipsis, another label before, space that differs.
        (FINNISH, 'Sure!\n**First:** "Lohikeitto on suomalainen…"\n**Last:** "tilli”, sanoi äiti"', PART),
        (FINNISH, "1. First words: Lohikeitto on   suomalainen\n2. Last words: sanoi äiti.", PART),
        (FINNISH, "First: x\nLast: y\nNo, better:\nFirst: Lohikeitto on\nLast: sanoi äiti", PART),
        (FINNISH, "First: suomalainen kalakeitto. Kuori\nLast: ne kypsiksi. ”Lisää", PART[14:80]),
        # An opening quotation mark belongs to its word.
        (FINNISH, "First: Lisää lohi,\nLast: sanoi äiti", PART[74:]),
        # Scripts without spaces, and a quote that ends before a vowel sign.
        (THAI, "First: ต้มยำเป็นอาหารไทย\nLast: แล้วใส่กุ้ง", THAI.split("\n")[1]),
        (THAI, "First：ต้มยำเป็นอาหารไทย\nLast：แล้วใส่ก", THAI.split("\n")[1][:-1]),
        (HINDI, "First: चाय बनाने के\nLast: और चीनी डालें", HINDI.split("\n")[1]),
        # A changed, a translated and an invented word are not in the text.
        (FINNISH, "First: Lohikeitto on suomalaista\nLast: sanoi äiti.", Failure("span_not_in_passage", "")),
        (FINNISH, "First: Salmon soup is\nLast: said mother.", Failure("span_not_in_passage", "")),
        (FINNISH, "First: lohikeitto on\nLast: sanoi äiti.", Failure("span_not_in_passage", "")),
        # The end lies before the start.
        (FINNISH, "First: Lisää lohi, kerma\nLast: Etusivu Uutiset", Failure("span_not_in_passage", "")),
        (FINNISH, "First: Kuori perunat ja\nLast: sanoi äiti.", Failure("span_ambiguous", "")),
        (FINNISH, "First: …\nLast: ...", Failure("span_not_in_passage", "")),
        (FINNISH, "Lohikeitto on suomalainen kalakeitto.", Failure("span_not_quoted", "")),
        (FINNISH, "First: Lohikeitto on", Failure("span_not_quoted", "")),
        (FINNISH, "", Failure("span_not_quoted", "")),
        (FINNISH, "NONE", Failure("not_answerable", "")),
        (FINNISH, "**NONE**", Failure("not_answerable", "")),
    ],
)
def test_a_span_must_occur_in_the_text(text: str, answer: str, part: str | Failure) -> None:
    found = find(text, answer)
    if isinstance(part, Failure):
        assert isinstance(found, Failure)
        assert found.reason == part.reason
    else:
        assert not isinstance(found, Failure), found
        assert text[slice(*found)] == part


# With a server


_TEXT = re.compile(r"<text>\n(.*)\n</text>", re.DOTALL)


class Choosing:
    """Answers of a model that chooses spans: the first passage with ``bad``, others by their middle words."""

    def __init__(self, bad: str | None = None) -> None:
        self.bad = bad
        self.asked: Counter[str] = Counter()
        self._first = ""

    def answer(self, body: dict[str, Any]) -> dict[str, Any] | None:
        prompt = "\n".join(message["content"] for message in body.get("messages", ()))
        if body.get("logprobs") or "First: the first six words" not in prompt:
            self.asked["other"] += "messages" in body
            return None
        self.asked["span"] += 1
        text = _TEXT.findall(prompt)[-1]
        self._first = self._first or text
        start, end = len(text) // 4, 3 * len(text) // 4
        content = f"First: {text[start : start + 30]}\nLast: {text[end - 30 : end]}"
        made = reply("/v1/chat/completions", body)
        made["choices"][0]["message"]["content"] = self.bad if self.bad and text == self._first else content
        return made

    def __call__(self, path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        made = self.answer(body)
        return None if made is None else (200, made)


def recipe(tmp_path: Path, url: str, **more: Any) -> Recipe:
    settings = {"generate.span": {}, "generate.passage_tokens": 512, "corpus.passages": 5}
    return load(write_recipe(tmp_path / "recipe.toml", url), settings | more)


def go(settings: Recipe, root: Path, until: str = "candidate", **more: Any) -> RunFolder:
    return execute(settings, root, 1, False, until, NullProgress(), **more)


def written(run: RunFolder) -> dict[str, bytes]:
    return {str(path.relative_to(run.root)): path.read_bytes() for path in run.root.glob("candidate/**/*.parquet")}


def test_responses_are_spans_of_their_passages(tmp_path: Path) -> None:
    model = Choosing()
    with OpenAIServer(fault=model) as server:
        settings = recipe(tmp_path, server.url)
        run = go(settings, tmp_path / "run")
        for tag in settings.languages:
            passages = {
                passage.id: passage for key in run.shards(StageKey("passage"), tag) for passage in run.read(key)
            }
            found = list(run.read(StageKey("candidate").shard(tag, 0)))
            assert len(found) >= 8
            for candidate in found:
                whole = passages[candidate.id].text
                assert candidate.text in whole
                assert 0.2 * len(whole) < len(candidate.text) < 0.8 * len(whole)
                assert candidate.text_hash == text_digest(candidate.text)
        # One request for a passage, beside one for each candidate. Instructions are written from the span alone.
        assert model.asked["span"] == 10
        assert sum(report.requests for report in run.reports(StageKey("candidate"))) == 30
        shown = [
            _TEXT.findall(str(body["messages"][-1]["content"]))[-1] for _, body in server.asked if body.get("seed")
        ]
        spans = {record.text for report in run.reports(StageKey("candidate")) for record in run.read(report.key)}
        assert spans <= set(shown)
        # A rerun asks nothing, and gives the same bytes.
        before, asked = written(run), sum("seed" in body for _, body in server.asked)
        shutil.rmtree(run.root / "candidate")
        assert written(go(settings, tmp_path / "run")) == before
        assert (model.asked["span"], sum("seed" in body for _, body in server.asked)) == (10, asked)
        with pytest.raises(RunChanged, match=r"generate\.span"):
            go(recipe(tmp_path, server.url, **{"generate.span": {"min_length": 0.1}}), tmp_path / "run")
        with pytest.raises(RunChanged, match=r"generate\.span"):
            go(settings.replace(generate=settings.generate.replace(span=None)), tmp_path / "run")
        expected = [
            preview(settings.replace(generate=settings.generate.replace(span=span)), tmp_path / name, 1, NullProgress())
            for name, span in (("whole", None), ("part", Span()))
        ]
        # One more for each of the 5 passages of a language.
        assert [found.estimate.languages[0].requests for found in expected] == [20, 25], expected


@pytest.mark.parametrize(
    ("bad", "fallback", "reason"),
    [
        ("First: Not in it\nLast: at all", "drop", "span_not_in_passage"),
        ("First: Not in it\nLast: at all", "passage", "whole_passage"),
        ("I cannot choose.", "passage", "whole_passage"),
        ("NONE", "passage", "not_answerable"),
    ],
)
def test_a_span_that_is_not_in_the_text_is_dropped(tmp_path: Path, bad: str, fallback: str, reason: str) -> None:
    with OpenAIServer(fault=Choosing(bad)) as server:
        settings = recipe(tmp_path, server.url, languages=["fi"], **{"generate.span.fallback": fallback})
        run = go(settings, tmp_path / "run")
    first, *others = run.read(StageKey("passage").shard("fi", 0))
    (report,) = run.reports(StageKey("candidate"))
    texts = {record.id: record.text for record in run.read(report.key)}
    assert report.dropped[reason] == 1
    assert set(texts) - {first.id} == {passage.id for passage in others}
    assert texts.get(first.id) == (first.text if reason == "whole_passage" else None)


def test_batch_files_give_the_same_rows(tmp_path: Path) -> None:
    with OpenAIServer(fault=Choosing()) as server:
        live = go(recipe(tmp_path, server.url), tmp_path / "live")
    settings, model = recipe(tmp_path, ""), Choosing()
    # First the spans; then what is written from them.
    for number in (10, 20):
        with pytest.raises(EngineError, match="wait for answers"):
            go(settings, tmp_path / "files")
        (file,) = write(RunFolder(tmp_path / "files"), settings, None, 50_000, 200_000_000)
        lines = [json.loads(line) for line in file.path.read_text("utf-8").split("\n")[:-1]]
        assert len(lines) == number
        answers = tmp_path / f"answers-{number}.jsonl"
        rows = [
            {
                "id": "b",
                "custom_id": line["custom_id"],
                "response": {
                    "status_code": 200,
                    "body": model.answer(line["body"]) or reply(line["url"], line["body"]),
                },
                "error": None,
            }
            for line in lines
        ]
        answers.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        read(RunFolder(tmp_path / "files"), settings, [answers])
    run = go(settings, tmp_path / "files")
    assert [list(run.read(report.key)) for report in run.reports(StageKey("candidate"))] == [
        list(live.read(report.key)) for report in live.reports(StageKey("candidate"))
    ]


# With a model in this process


def test_a_local_chat_model_can_choose_spans_and_a_base_model_cannot(tiny_model: Path, tmp_path: Path) -> None:
    texts = [factories.passage(FINNISH, "fi")]
    settings = Generate(model=Model(name="m"), span=Span(), candidates=1, min_chars=1)
    base = open_engine(Model(name=str(tiny_model)))
    with pytest.raises(RecipeError, match=r"generate\.span\.prompt 'span-chat' is a chat prompt, and .* has no chat"):
        list(generate(texts, settings, base, lambda requests: [], 1))
    shutil.copytree(tiny_model, tmp_path / "chat")
    (tmp_path / "chat" / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}\n{% endfor %}", "utf-8"
    )
    engine = open_engine(Model(name=str(tmp_path / "chat")))
    with RequestCache(tmp_path / "cache.sqlite", engine, {}) as cache:
        # It writes titles, which quote nothing.
        (refused,) = generate(texts, settings, engine, cache.ask, 1)
        assert isinstance(refused, Dropped)
        assert (refused.id, refused.reason) == (texts[0].id, "span_not_quoted")
        assert cache.totals()["requests_sent"] == 1


def test_a_span_that_is_too_short_is_dropped() -> None:
    class Fixed:
        model, revision, chat = "writer", "r1", True

        def truncate(self, text: str, tokens: int) -> str:
            return text

    def ask(requests: Sequence[Request]) -> list[Result]:
        return [Completed("First: Lohikeitto on\nLast: suomalainen kalakeitto.", "stop", 1, 1) for _ in requests]

    def outcomes(least: float) -> list[Candidate | Dropped]:
        settings = Generate(model=Model(name="m"), span=Span(min_length=least), candidates=1)
        passages: list[Passage] = [factories.passage(FINNISH, "fi")]
        return list(generate(passages, settings, Fixed(), ask, 1))  # type: ignore[arg-type]

    (refused,) = outcomes(0.2)
    assert isinstance(refused, Dropped)
    assert refused.reason == "span_too_short"
    assert [type(outcome) for outcome in outcomes(0.05)] == [Candidate] or outcomes(0.05)[0].id.endswith("-0")


@pytest.mark.parametrize("key", ["generate.prompt", "generate.span.prompt", "refine.prompt"])
def test_a_prompt_without_its_slots_is_refused_before_work_starts(tmp_path: Path, key: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("[user]\nWrite a question.\n", "utf-8")
    settings = load(write_recipe(tmp_path / "recipe.toml"), {key: str(path)})
    with pytest.raises(RecipeError, match=r"mine\.txt has no slot \{passage\}"):
        go(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_incompatible_settings_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"span is set and \[generate\.train\] is set"):
        Generate(model=Model(name="m"), span=Span(), train={"steps": 1})
