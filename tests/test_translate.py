"""Translation of seeds: errors, the rules with a scripted engine, and whole files with the tiny model."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import warm

from x_instruction.config.model import Model, Server
from x_instruction.config.section import toml_value, validate
from x_instruction.config.seeds import Translation
from x_instruction.engines import Batch, Completed, Completion, Failed, Request, Result, Scored, Scoring, single_batch
from x_instruction.engines.truncation import truncate_by_bytes
from x_instruction.errors import CorpusError, NotCapable, RecipeError
from x_instruction.languages import language
from x_instruction.records import Dropped, dropped
from x_instruction.seed.pairs import Pair
from x_instruction.translate import Failure, SourceText, Translator, pieces, translate, write

EN, SW, TH = language("en"), language("sw"), language("th")
ENGLISH = "It rains a lot in March and April, and farmers plant maize and beans at that time."
SWAHILI = (
    "Mvua hunyesha kwa wingi katika miezi ya Machi na Aprili, na wakulima hupanda mahindi na maharagwe wakati huo."
)
BACK = "It rains much in March and April, and the farmers plant maize and beans at this time."
FINNISH = "Sade alkoi aamulla, ja lapset juoksivat kotiin ennen kuin ukkonen saapui järven yli."


class Scripted:
    """Answers by what is asked: text to translation, or to a failure."""

    model, revision = "scripted", "1"
    capabilities = frozenset({"complete", "score"})
    truncate = staticmethod(truncate_by_bytes)

    def __init__(self, book: dict[str, str | Result], chat: bool = True) -> None:
        self.book, self.chat = book, chat
        self.asked: list[Any] = []

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        return single_batch(requests)

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Any = None
    ) -> Iterator[tuple[int, Result]]:
        yield from enumerate(self.results(requests))

    def results(self, requests: Sequence[Request]) -> list[Result]:
        self.asked += requests
        return [self._result(request) for request in requests]

    def _result(self, request: Any) -> Result:
        passage = request.prompt[-1][1] if self.chat else re.findall(r": (.*)\n\w+:$", request.prompt)[0]
        found = self.book[passage]
        return Completed(found, "stop", 1, 1) if isinstance(found, str) else found


def pair(**values: str) -> Pair:
    fields = {
        "id": "p1",
        "instruction": "When does it rain?",
        "output": ENGLISH,
        "language": "en",
        "instruction_language": "en",
        "source": "test",
        "license": "CC0-1.0",
    }
    return Pair(**fields | values)


def settings(**values: Any) -> Translation:
    return Translation(model=Model(name="m"), **values)


def run(seeds: Sequence[Pair | Dropped], engine: Scripted, **values: Any) -> list[Pair | Dropped]:
    made = settings(**values)
    translator = Translator(engine, engine.results, made)
    return [outcome.record for outcome in translate(seeds, made, SW, translator, translator)]


GOOD: dict[str, str | Result] = {ENGLISH: SWAHILI, SWAHILI: BACK}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("modle.name", "x", "unknown key modle, did you mean 'model'"),
        ("piece_chars", "0", "piece_chars is 0, expected a number above 0"),
        ("tokens_per_byte", "-1", "tokens_per_byte is -1"),
        ("score", "bleu", "score is 'bleu', expected 'chrf' or 'likelihood'"),
        ("min_script", "2", "min_script is 2, expected at most 1"),
        ("model.engine", "batch", 'model.engine is "batch", expected an engine that answers at once'),
        ("language", "no such", "no such"),
    ],
)
def test_invalid_settings_are_refused(key: str, value: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        validate(Translation, {}, {"model.name": "m", key: toml_value(value)})


def test_a_model_is_required_and_back_needs_a_live_engine() -> None:
    with pytest.raises(RecipeError, match="model is missing and has no default"):
        validate(Translation, {})
    with pytest.raises(RecipeError, match=r'back\.engine is "batch", expected an engine that answers at once'):
        settings(back=Model(name="m", engine="batch"))


@pytest.mark.parametrize(("text", "missing"), [("{passage} {language}", "into"), ("{passage} {into}", "language")])
def test_a_prompt_without_its_slots_is_refused(tmp_path: Path, text: str, missing: str) -> None:
    (tmp_path / "mine.txt").write_text(text, "utf-8")
    engine = Scripted({})
    with pytest.raises(RecipeError, match=rf"mine.txt has no slot \{{{missing}\}}"):
        Translator(engine, engine.results, settings(prompt=str(tmp_path / "mine.txt")))


def test_unsupported_settings_are_reported_before_the_first_request() -> None:
    engine = Scripted(GOOD)
    engine.capabilities = frozenset({"complete"})
    with pytest.raises(NotCapable, match='score = "likelihood", but the engine of scripted cannot score'):
        run([pair()], engine, score="likelihood")
    made = settings()
    translator = Translator(engine, engine.results, made)
    with pytest.raises(RecipeError, match="py3langid does not know"):
        next(translate([pair()], made, language("bm"), translator, translator))
    assert engine.asked == []


def test_a_good_translation_is_kept() -> None:
    (made,) = run([pair(input="x", url="u")], Scripted(GOOD))
    assert made == pair(input="x", url="u", output=SWAHILI, language="sw", source="test; translated by scripted")


@pytest.mark.parametrize(
    ("book", "reason"),
    [
        ({ENGLISH: FINNISH}, "wrong_language"),
        ({ENGLISH: ENGLISH}, "wrong_language"),
        ({ENGLISH: f"{SWAHILI} {ENGLISH} {FINNISH}"}, "wrong_language"),
        ({ENGLISH: "ฝนตกหนักในเดือนมีนาคมและเมษายน ชาวนาปลูกข้าวโพดและถั่วในช่วงเวลานั้น"}, "wrong_language"),
        ({ENGLISH: "Mvua."}, "wrong_language"),
        ({ENGLISH: " \n"}, "empty"),
        ({ENGLISH: Completed(SWAHILI, "length", 1, 84)}, "cut_off"),
        ({ENGLISH: Failed("engine_filtered", "said so")}, "engine_filtered"),
        ({ENGLISH: SWAHILI, SWAHILI: "The children went to school on foot."}, "bad_translation"),
        ({ENGLISH: SWAHILI, SWAHILI: Failed("engine_timeout", "late")}, "engine_timeout"),
        ({ENGLISH: SWAHILI, SWAHILI: Completed(BACK, "length", 1, 84)}, "cut_off"),
    ],
)
def test_bad_translations_have_a_reason(book: dict[str, str | Result], reason: str) -> None:
    good, other = pair(id="p0", output=f"# {ENGLISH[:-1]}!"), pair()
    rest = {ENGLISH[:-1] + "!": SWAHILI[:-1] + "!", SWAHILI[:-1] + "!": BACK}
    made = run([good, other], Scripted(book | rest))
    assert isinstance(made[0], Pair)
    assert made[0].output == f"# {SWAHILI[:-1]}!"
    assert isinstance(made[1], Dropped)
    assert (made[1].id, made[1].reason) == ("p1", reason)


def test_untranslatable_pairs_are_dropped() -> None:
    engine = Scripted(GOOD)
    gone = dropped("p5", "wrong_shape")
    made = run(
        [
            gone,
            pair(id="p1", output=" \n"),
            pair(id="p2", language="swh_Latn"),
            pair(id="p3", language="no such"),
            pair(id="p4", language=""),
        ],
        engine,
    )
    assert made[0] is gone
    assert [r.reason for r in made[1:4] if isinstance(r, Dropped)] == ["no_output", "same_language", "unknown_language"]
    assert isinstance(made[4], Pair)
    assert len(engine.asked) == 2


def test_min_score_sets_the_threshold() -> None:
    from x_instruction.seed.chrf import chrf

    score = chrf(BACK, ENGLISH)
    assert isinstance(run([pair()], Scripted(GOOD), min_score=score)[0], Pair)
    (gone,) = run([pair()], Scripted(GOOD), min_score=score + 1e-6)
    assert isinstance(gone, Dropped)
    assert (gone.reason, gone.text) == ("bad_translation", SWAHILI)
    assert gone.detail.startswith(f"chrf {score:.3f}, at least")


@pytest.mark.parametrize(
    ("alone", "reason"), [(-40.0, None), (-24.0, "bad_translation"), (float("-inf"), "bad_translation")]
)
def test_translations_are_scored_by_likelihood(alone: float, reason: str | None) -> None:
    """Without the translation 20 nats less, over 10 tokens: 2 nats per token."""

    class Likely(Scripted):
        def _result(self, request: Any) -> Result:
            if isinstance(request, Completion):
                return super()._result(request)
            assert isinstance(request, Scoring)
            assert request.continuation == ENGLISH
            given = request.prompt[-1][1] == SWAHILI
            assert "from Swahili into English" in request.prompt[0][1]
            return Scored(-20.0 if given and alone > -1e9 else alone, 10, 50)

    (made,) = run([pair()], Likely(GOOD), score="likelihood", min_score=1.0)
    assert (made.reason if isinstance(made, Dropped) else None) == reason


def test_a_failed_likelihood_drops_the_pair() -> None:
    class Likely(Scripted):
        def _result(self, request: Any) -> Result:
            return super()._result(request) if isinstance(request, Completion) else Failed("engine_too_long", "long")

    (made,) = run([pair()], Likely(GOOD), score="likelihood")
    assert isinstance(made, Dropped)
    assert made.reason == "engine_too_long"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", [("", "One. Two.")]),
        ("One.\n\nTwo.", [("", "One."), ("\n", ""), ("\n", "Two.")]),
        ("- One\n  2) two\n## Three ", [("- ", "One"), ("\n  2) ", "two"), ("\n## ", "Three")]),
        ("---\n12", [("---", ""), ("\n12", "")]),
        (
            "Run:\n```\nx = one\n```\nDone",
            [("", "Run:"), ("\n```", ""), ("\nx = one", ""), ("\n```", ""), ("\n", "Done")],
        ),
        ("First one. Second one.", [("", "First one."), ("_", "Second one.")]),
        ("", [("", "")]),
    ],
)
def test_texts_are_divided_into_pieces(text: str, expected: list[tuple[str, str]]) -> None:
    found = pieces(text, 12, "_")
    assert found == expected
    assert "".join(kept + piece for kept, piece in found).split() == text.replace(". Second", "._Second").split()


def test_lines_are_kept_and_equal_pieces_are_translated_once() -> None:
    engine = Scripted({"Cook.": "Pika.", "Wash the rice.": "Osha mchele."})
    translator = Translator(engine, engine.results, settings())
    text = "1. Cook.\n\n   - Wash the rice.\n`` ` ``\n2. Cook."
    assert translator.translate([SourceText(text, EN, SW), SourceText("Cook.", EN, SW)]) == [
        "1. Pika.\n\n   - Osha mchele.\n`` ` ``\n2. Pika.",
        "Pika.",
    ]
    assert [request.prompt[-1][1] for request in engine.asked] == ["Cook.", "Wash the rice."]


def test_a_failed_piece_does_not_shift_the_others() -> None:
    engine = Scripted({"a": Failed("engine_timeout", "late"), "b": "bb", "c": "cc"})
    translator = Translator(engine, engine.results, settings())
    found = translator.translate([SourceText("a\nb", EN, SW), SourceText("c\nb", EN, SW)])
    assert found == [Failure("engine_timeout", "late"), "cc\nbb"]


def test_base_models_get_a_plain_prompt() -> None:
    engine = Scripted({"Cook  it.": "x", "Cook it.": " Pika. "}, chat=False)
    translator = Translator(engine, engine.results, settings(max_tokens=40, tokens_per_byte=2.0))
    assert translator.translate([SourceText("Cook  it.", EN, SW), SourceText("Cook it." * 9, EN, SW)][:1]) == ["Pika."]
    (request,) = engine.asked
    assert request.prompt.endswith("\n\nEnglish: Cook it.\nSwahili:")
    assert (request.stop, request.temperature, request.max_tokens) == (("\n",), 0.0, 32)


def test_max_tokens_grow_with_the_text() -> None:
    engine = Scripted({"a" * 100: "x", "ก" * 50: "x", "a" * 500: "x"})
    translator = Translator(engine, engine.results, settings(max_tokens=400))
    translator.translate([SourceText("a" * 100, EN, SW), SourceText("ก" * 50, TH, SW), SourceText("a" * 500, EN, SW)])
    assert [request.max_tokens for request in engine.asked] == [100, 150, 400]
    assert {request.stop for request in engine.asked} == {()}


# With the tiny model


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"s{n}",
            "instruction": f"Tell me of {n}.",
            "output": f"Cook rice {n}.\n\n- Wash it {n} times.",
            "license": "CC0-1.0",
        }
        for n in range(24)
    ]
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n", "utf-8")
    return path


@pytest.fixture
def tiny(tiny_model: Path) -> Callable[..., Translation]:
    """Settings under which nearly all that the tiny model writes is kept: it knows titles and no language."""

    def make(**values: Any) -> Translation:
        given = {"language_check": False, "min_score": 0.0, "max_tokens": 24, "batch_size": 4} | values
        return Translation(model=Model(name=str(tiny_model), batch_size=given.pop("batch_size")), **given)

    return make


def test_invalid_files_are_refused(seeds: Path, tmp_path: Path, tiny: Callable[..., Translation]) -> None:
    with pytest.raises(RecipeError, match=r"out.csv: expected a name that ends in .jsonl or .parquet"):
        write([seeds], tiny(), SW, tmp_path / "out.csv")
    with pytest.raises(RecipeError, match="is also an input: choose another file for --out"):
        write([seeds], tiny(), SW, seeds)
    with pytest.raises(CorpusError, match=r"cannot read .*none.jsonl"):
        write([tmp_path / "none.jsonl"], tiny(), SW, tmp_path / "out.jsonl")
    with pytest.raises(
        CorpusError, match=r"no usable translation into Swahili of seeds.jsonl \(.*malformed_json 1.*wrong"
    ):
        write([seeds], tiny(language_check=True), SW, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_and_reports_are_written(
    seeds: Path, tmp_path: Path, tiny: Callable[..., Translation], suffix: str
) -> None:
    out = tmp_path / f"sw.{suffix}"
    report = write([seeds], tiny(), SW, out)
    table = (
        pq.read_table(out).to_pylist() if suffix == "parquet" else list(map(json.loads, out.read_text().splitlines()))
    )
    gone = pq.read_table(tmp_path / "sw.dropped.parquet").to_pylist()
    assert report["rows_in"] == 25 == len(table) + len(gone)
    assert len(table) > 0
    assert {row["language"] for row in table} == {"sw"}
    assert {row["source"] for row in table} == {"seeds.jsonl; translated by tiny-model0"}
    assert {row["license"] for row in table} == {"CC0-1.0"}
    assert {row["id"] for row in table} | {row["id"] for row in gone} == {f"s{n}" for n in range(24)} | {
        "seeds.jsonl:25"
    }
    assert all(re.fullmatch(r".+\n\n- .+", row["output"]) for row in table)
    written = json.loads((tmp_path / "sw.report.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(report))
    assert str(tmp_path) not in json.dumps(written)
    assert written["requests_sent"] > 48
    assert (written["settings"]["min_score"], "model.name" in written["settings"]) == (0.0, False)


def digests(out: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (out, out.with_suffix(".dropped.parquet"))]


def test_a_second_run_sends_no_requests_and_gives_the_same_bytes(
    seeds: Path, tmp_path: Path, tiny: Callable[..., Translation]
) -> None:
    first = write([seeds], tiny(), SW, tmp_path / "sw.jsonl")
    before = digests(tmp_path / "sw.jsonl")
    assert write([seeds], tiny(), SW, tmp_path / "sw.jsonl") == first
    assert digests(tmp_path / "sw.jsonl") == before


def test_translations_are_scored_by_a_real_model(seeds: Path, tmp_path: Path, tiny: Callable[..., Translation]) -> None:
    report = write([seeds], tiny(score="likelihood", min_score=-1e9), SW, tmp_path / "sw.jsonl")
    assert report["kept"] > 0
    assert report["scores"]["p10"] < report["scores"]["p90"]


def test_a_killed_translation_resumes_to_the_same_bytes(seeds: Path, tmp_path: Path, tiny_model: Path) -> None:
    out = tmp_path / "sw.jsonl"
    keys = ("language_check=false", "min_score=0.0", "max_tokens=24", "model.batch_size=1", f"model.name={tiny_model}")
    line = [sys.executable, "-m", "x_instruction", "seeds", "translate", str(seeds), "--languages", "sw"]
    line += [part for key in keys for part in ("--set", key)]
    warm.run([*line, "--out", str(tmp_path / "whole.jsonl")], check=True, capture_output=True)
    for answers in (5, 30):
        with warm.start([*line, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _wait_for(out.with_suffix(".requests.sqlite"), answers, process)
            os.kill(process.pid, signal.SIGKILL)
        assert not out.exists()
    kept = _answers(out.with_suffix(".requests.sqlite"))
    done = warm.run([*line, "--out", str(out)], check=True, capture_output=True)
    assert re.search(r"sw.jsonl: \d+ seeds of 25 rows", done.stdout)
    assert digests(out) == digests(tmp_path / "whole.jsonl")
    # What had been answered was not asked again.
    whole = json.loads((tmp_path / "whole.report.json").read_text("utf-8"))["requests_sent"]
    sent = json.loads((tmp_path / "sw.report.json").read_text("utf-8"))["requests_sent"]
    assert kept > 0
    assert whole <= sent <= whole + 2


def _answers(path: Path) -> int:
    try:
        with sqlite3.connect(path) as file:
            return int(file.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def _wait_for(path: Path, answers: int, process: warm.Process) -> None:
    for _ in range(6_000):
        if path.exists() and _answers(path) >= answers:
            return
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    pytest.fail("nothing was asked")


def test_only_missing_answers_are_requested_from_a_server(seeds: Path, tmp_path: Path) -> None:
    """Two servers share one file of answers: one translates, the other translates back."""
    from engines.openai_server import MODEL, OpenAIServer

    with OpenAIServer() as there, OpenAIServer() as back:
        made = Translation(
            model=Model(name=MODEL, engine="openai", server=Server(url=there.url)),
            back=Model(name=MODEL, engine="openai", revision="other", server=Server(url=back.url)),
            language_check=False,
            min_score=0.0,
        )
        first = write([seeds], made, SW, tmp_path / "sw.jsonl")
        assert first["kept"] == 24
        before = digests(tmp_path / "sw.jsonl")
        # The scores come out otherwise and nothing is asked: all of it is known.
        report = write([seeds], made.replace(min_score=0.1), SW, tmp_path / "sw.jsonl")
        assert report["requests_sent"] == first["requests_sent"] > 48
        assert report["kept"] < 24
        write([seeds], made, SW, tmp_path / "sw.jsonl")
        assert digests(tmp_path / "sw.jsonl") == before
