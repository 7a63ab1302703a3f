"""A judge's passport: every bias is named with its size, over a real server, and a reliable judge passes."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Say
from natural_pairs import Natural
from real_texts import DATA, needs_real_texts
from scripted_judges import OWN as OWN_TEXT
from scripted_judges import (
    Decide,
    JudgeServer,
    always_first,
    always_itself,
    always_longest,
    always_whole,
    garbage,
    noise,
    sound,
    wrong_language,
)

from x_instruction.config.model import Model, Server
from x_instruction.corpus.segment import ends
from x_instruction.errors import CorpusError, RecipeError, RunChanged
from x_instruction.evaluation.judge.labels import read_labels
from x_instruction.evaluation.judge.passport import EQUAL, FLAWS, OWN, Documents, Passport, items
from x_instruction.evaluation.judge.protocols import Protocol, ProtocolName, protocol
from x_instruction.evaluation.judge.records import read_verdicts
from x_instruction.evaluation.judge.run import measure_judge
from x_instruction.evaluation.metric import Data, Instance, Metric, ModelInfo
from x_instruction.evaluation.record import read_instances, read_record, write_record
from x_instruction.seed.pairs import Pair


def model(server: JudgeServer) -> Model:
    return Model(name="judge", engine="openai", server=Server(url=server.url))


def measured(
    decide: Decide, natural: Natural, out: Path, asked: Protocol | None = None, **options: object
) -> tuple[dict[str, Passport], JudgeServer]:
    # About as long as a sentence or two.
    with JudgeServer(decide, answer=lambda model, request: OWN_TEXT * 3 + request[::-1] + ".") as server:
        data = list(map(str, natural.paths))
        return measure_judge(model(server), data, out, asked or protocol("choice"), **options), server


BOTH: list[ProtocolName] = ["choice", "x-instruction"]


@pytest.mark.parametrize("name", BOTH)
def test_a_reliable_judge_passes(name: ProtocolName, natural: Natural, tmp_path: Path) -> None:
    passports, _ = measured(sound(natural.responses), natural, tmp_path, protocol(name))
    for passport in passports.values():
        assert passport.no_verdict == ""
        assert passport.biases == []
        assert {flaw: estimate.value for flaw, estimate in passport.by_flaw.items()} == dict.fromkeys(FLAWS, 1.0)
        assert passport.consistency.value == passport.answered == 1.0


# The bias of each judge, its size, and words of the reason why it gives no verdict.
BIASED: list[tuple[Callable[[Natural], Decide], dict[str, float], str]] = [
    (lambda natural: always_first, {"position": 1.0}, "accuracy 0.50"),
    (lambda natural: always_longest, {"length": 1.0}, "not clearly better than chance"),
    (lambda natural: always_itself, {"own": 1.0}, "not clearly better than chance"),
    (lambda natural: noise, {}, "not clearly better than chance"),
    (lambda natural: garbage, {}, "no answer to 100% of the requests ("),
    (lambda natural: always_whole, {}, "not clearly better than chance"),
    (lambda natural: wrong_language(natural.languages), {"language": 1.0}, "not clearly better than chance"),
]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("make", "biases", "reason"),
    BIASED,
    ids=["first", "longest", "itself", "noise", "garbage", "whole", "wrong-language"],
)
def test_biases_are_named(
    make: Callable[[Natural], Decide],
    biases: dict[str, float],
    reason: str,
    name: ProtocolName,
    natural: Natural,
    tmp_path: Path,
) -> None:
    passports, _ = measured(make(natural), natural, tmp_path, protocol(name))
    assert list(passports) == ["fi", "sw"]
    for passport in passports.values():
        assert {bias.name: bias.size.value for bias in passport.biases} == biases
        assert reason in passport.no_verdict


def test_a_judge_of_length_is_at_chance_if_lengths_are_balanced(natural: Natural, tmp_path: Path) -> None:
    passports, _ = measured(always_longest, natural, tmp_path)
    for passport in passports.values():
        assert passport.balanced.value == 0.5
        assert passport.by_flaw["padded"].value == 0.0
        assert passport.by_flaw["truncated"].value == 1.0
        assert passport.p_values["balanced"] > 0.4


def test_self_bias_is_not_measured_if_own_answers_are_always_shorter(natural: Natural, tmp_path: Path) -> None:
    with JudgeServer(always_longest, answer=lambda model, request: "Ei.") as server:
        passports = measure_judge(model(server), list(map(str, natural.paths)), tmp_path, protocol("choice"))
    assert all(math.isnan(passport.own.value) for passport in passports.values())
    assert [bias.name for bias in passports["fi"].biases] == ["length"]


def test_the_command_prints_and_records_the_biases(natural: Natural, tmp_path: Path, say: Say) -> None:
    out = tmp_path / "passport"
    with JudgeServer(always_first) as server:
        arguments = ["eval", "judge-passport", "judge", *natural.paths, "--out", out, "--limit", 10]
        sets = ["--set", "engine=openai", "--set", f"server.url={server.url}"]
        code, shown, _ = say(*arguments, *sets)
        assert code == 0
        assert "fi: no verdict: accuracy 0.50" in shown
        assert "sw: prefers the answer that is shown first (position bias +1.00 (+1.00 to +1.00))" in shown
        asked = len(server.judged)
        assert say(*arguments, *sets, "--json")[0] == 0
        assert len(server.judged) == asked, "a second run asks nothing"
        code, _, errors = say(*arguments, *sets, "--protocol", "x-instruction")
        assert code == 1
        assert "pass --overwrite to replace it" in errors
    record = read_record(out / "judge-passport.json")
    figures = {metric.id: metric for metric in record.metrics}
    assert record.model.name == "judge"
    assert figures["judge-passport/fi/position_bias"].value == 1.0
    assert figures["judge-passport/fi/accuracy/flaw=padded"].value == 0.5
    assert figures["judge-passport/fi/verdict"].notes.startswith("accuracy 0.50")
    rows = list(read_instances(record))
    assert {row.details["category"] for row in rows} == set(FLAWS)
    assert sum(row.metric.endswith("flaw=padded") for row in rows) == 20


def test_verdicts_apply_only_to_the_same_judge_and_protocol(natural: Natural, tmp_path: Path) -> None:
    measured(sound(natural.responses), natural, tmp_path)
    settings = read_record(tmp_path / "judge-passport.json").settings
    verdicts = read_verdicts(tmp_path, settings, ["fi", "sw"])
    assert (verdicts.reason("fi"), verdicts.reason("all")) == ("", "")
    verdicts = read_verdicts(tmp_path, settings, ["fi", "th"])
    assert verdicts.reason("th") == "judge-passport.json has not measured this language"
    # What is not measured counts nowhere, so it does not count for the whole either.
    assert verdicts.reason("all") == "th: judge-passport.json has not measured this language"
    with pytest.raises(RecipeError, match="was made with another protocol"):
        read_verdicts(tmp_path, settings | {"protocol": "rubric"}, ["fi"])
    with pytest.raises(RecipeError, match="--passport needs the judge of --judgements"):
        read_verdicts(tmp_path, {"judgements": "x"}, ["fi"])
    for options, difference in (
        ({"seed": 1}, "seed was 0, is 1"),
        ({"per_language": 3}, "limit was 40, is 3"),
        ({"tags": ["sw"]}, r"languages was .*fi.*sw.*, is .*sw"),
        ({"asked": protocol("choice", max_tokens=9)}, "max_tokens was not set, is 9"),
        ({"asked": protocol("choice", retries=0)}, "retries was 1, is 0"),
    ):
        with pytest.raises(RunChanged, match=difference):
            measured(sound(natural.responses), natural, tmp_path, **options)  # type: ignore[arg-type]


def test_agreement_with_people_is_measured(natural: Natural, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    request, response = next(iter(natural.responses.items()))
    pairs = [(response, f"x{n}", "a") for n in range(6)] + [(f"x{n}", response, "b") for n in range(6)]
    # People disagree about two of them.
    pairs[0], pairs[6] = (*pairs[0][:2], "tie"), (*pairs[6][:2], "a")
    rows = [{"instruction": request, "output_a": a, "output_b": b, "language": "fi", "winner": w} for a, b, w in pairs]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    passports, _ = measured(sound(natural.responses), natural, tmp_path / "out", labels=labels)
    people = passports["fi"].people
    assert people is not None
    # Agreement 10 of 12, by chance (6 * 6 + 5 * 6) / 144.
    assert people.value == pytest.approx((10 / 12 - 66 / 144) / (1 - 66 / 144))
    assert people.low < people.value < people.high
    assert passports["sw"].people is None
    with pytest.raises(CorpusError, match="has pairs in fi, and there are no documents in fi to measure"):
        measured(noise, natural, tmp_path / "sw", labels=labels, tags=["sw"])
    assert not (tmp_path / "sw").exists()
    labels.write_text(json.dumps(rows[0] | {"winner": "1"}), "utf-8")
    with pytest.raises(CorpusError, match="row 1: winner is '1', expected a, b or tie"):
        measured(sound(natural.responses), natural, tmp_path / "out", labels=labels)


def test_too_few_documents_are_refused(natural: Natural, tmp_path: Path) -> None:
    passports, _ = measured(sound(natural.responses), natural, tmp_path, per_language=4, tags=["fi"])
    assert list(passports) == ["fi"]
    assert passports["fi"].no_verdict == "measured on 4 documents, expected at least 10"
    pairs = [pair(n, "x") for n in range(2)]
    with pytest.raises(CorpusError, match="fi has 2 documents, expected at least 3"):
        Documents(pairs, (), 10, 0)
    with pytest.raises(CorpusError, match="there are no pairs in th, only in fi, sw"):
        measured(noise, natural, tmp_path, tags=["th"])


def pair(number: int, text: str, tag: str = "fi") -> Pair:
    return Pair(id=f"{number}", instruction="?", output=text, language=tag, instruction_language="en", source="test")


@needs_real_texts
@pytest.mark.parametrize("tag", ["th", "hi", "ur"])
def test_flaws_are_made_from_real_pages(tag: str) -> None:
    """Each flaw is made in scripts without spaces and from right to left; padded answers are longer."""
    lines = (DATA / f"passages/{tag}.jsonl").read_text("utf-8").split("\n")
    texts = [json.loads(line)["text"] for line in lines[:30] if line]
    pairs = [pair(n, text, tag) for n, text in enumerate(texts)]
    own = {(tag, f"{n}"): "ฉันตอบ" * 40 for n in range(30)}
    made = items(Documents([*pairs, pair(0, "Sauna on lämmin. Vesi on kylmä.")], (tag,), 20, 0), own)
    kinds = {item.kind for item in made}
    assert kinds == {*FLAWS, EQUAL, OWN}
    for item in made:
        first, second = item.comparison.answers
        assert first != second
        if item.kind == "padded":
            assert len(second) >= 1.2 * len(first)
        if item.kind == OWN:
            assert first == own[tag, "0"]
            page = next(page for page in texts if page.startswith(second))
            # The Thai pages have no full stops, so a space is the end of a sentence.
            assert len(second) in ends(page) | {len(page)} or (tag == "th" and page[len(second)] == " ")
        if item.kind == "disfluent":
            assert 0.7 * len(first) < len(second) <= len(first)
            assert (first[0], first[-1]) == (second[0], second[-1])


def test_labels_are_read_from_a_record_of_human_ratings(tmp_path: Path) -> None:
    metric = Metric(
        task="human-rating",
        name="score",
        value=0.5,
        n=2,
        data=Data(name="pairs"),
        language="fi",
        parameters={"b": "x"},
    )
    fluency = dataclasses.replace(metric, name="fluency_win_rate")
    judged = [("1", 1.0), ("2", 0.25), ("3", 0.5)]
    instances = [
        Instance(
            metric=own.id,
            id=id,
            input="Why?",
            outputs=("a",),
            references=("b",),
            score=score,
            correct=score > 0.5,
            details={"language": "fi"},
        )
        for own in (metric, fluency)
        for id, score in judged
    ]
    path = write_record(tmp_path, "human-rating", ModelInfo(name="a"), [metric, fluency], instances, settings={})
    labels = read_labels(path)
    assert [(label.comparison.question_id, label.value) for label in labels] == [("1", 1.0), ("2", 0.0), ("3", 0.5)]
    assert labels[0].comparison.answers == ("a", "b")
