"""Held-out evaluation of a tuned model: by hand, by one plain forward pass, and errors."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from x_instruction.config.corpus import Corpus
from x_instruction.config.model import Model
from x_instruction.corpus.sources import Document
from x_instruction.corpus.sources import read as passages
from x_instruction.engines import Failed, Scored
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.truncation import truncate_by_bytes
from x_instruction.errors import CorpusError, EngineError, NotCapable, RecipeError
from x_instruction.evaluation.held_out import (
    Likelihood,
    Row,
    RowResult,
    answers,
    bits_per_byte,
    difference,
    held_out_files,
    load,
    measure,
    read,
    summary,
    with_cue,
    with_tags,
)
from x_instruction.languages import language
from x_instruction.prompts.answer import frame

RENDER = frame("answer", chat=False)
FINNISH = "Sade alkoi aamulla, ja lapset juoksivat kotiin ennen kuin ukkonen saapui järven yli."


class Scripted:
    """An engine whose answers are given beforehand."""

    model, revision, chat = "scripted", "1", False
    capabilities = frozenset({"complete", "score"})
    truncate = staticmethod(truncate_by_bytes)

    def __init__(self, *results: object) -> None:
        self.results = list(results)
        self.asked: list[object] = []

    def plan(self, requests):  # type: ignore[no-untyped-def]
        from x_instruction.engines import single_batch

        return single_batch(requests)

    def answer(self, requests, shared=0, should_continue=None):  # type: ignore[no-untyped-def]
        self.asked += requests
        yield from enumerate(self.results)


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TransformersEngine:
    return TransformersEngine(Model(name=str(tiny_model), batch_size=2))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Two responses in each of three scripts, to prompts of unlike length."""
    found = []
    for tag in ("fi", "th", "bn"):
        texts = [d.text for d in passages(Corpus(source="sample"), language(tag)) if isinstance(d, Document)][:2]
        found += [Row(f"{tag}{n}", "Why? " * (n + 1), text[:400], tag) for n, text in enumerate(texts)]
    return found


def naive(engine: TransformersEngine, row: Row, tokens: int) -> tuple[float, int]:
    """Bits and bytes of the response's first tokens by one forward pass over the whole."""
    start = engine.tokenizer(RENDER(row.prompt))["input_ids"]
    end = engine.tokenizer(row.completion, add_special_tokens=False)["input_ids"][:tokens]
    with torch.inference_mode():
        logits = engine.network(torch.tensor([start + end])).logits[0].double()
    steps = torch.log_softmax(logits, -1)[len(start) - 1 : -1]
    return -float(steps[torch.arange(len(end)), torch.tensor(end)].sum()) / math.log(2), len(end)


def test_an_engine_that_cannot_score_is_refused(rows: list[Row]) -> None:
    writer = Scripted()
    writer.capabilities = frozenset({"complete", "choose"})
    with pytest.raises(NotCapable, match="scripted must score to be evaluated"):
        measure(rows, writer, RENDER)
    assert writer.asked == []


def test_a_failure_names_its_row() -> None:
    row = Row("r7", "Why?", "Ei.", "fi")
    with pytest.raises(EngineError, match=r"did not answer row r7 \(engine_too_long: 9 tokens\)"):
        bits_per_byte([row], Scripted(Failed("engine_too_long", "9 tokens")), RENDER, 8)
    with pytest.raises(EngineError, match="r7"):
        answers([row], Scripted(Failed("engine_too_long", "9 tokens")), RENDER, 8)


def test_a_token_limit_too_small_for_a_character_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(RecipeError, match="max_tokens is 1, less than one character of the response of row r1"):
        bits_per_byte([Row("r1", "Why?", "𓀀", "fi")], engine, RENDER, 1)


def test_an_unidentifiable_language_is_reported_before_the_model_is_used() -> None:
    asked = Scripted()
    with pytest.raises(RecipeError, match="py3langid does not know"):
        measure([Row("r1", "Why?", "x", "bm")], asked, RENDER)
    assert asked.asked == []


def test_a_tokenizer_of_another_model_is_reported() -> None:
    cutting = Scripted(Scored(-1.0, 12, 20))
    cutting.truncate = lambda text, tokens: text
    with pytest.raises(EngineError, match=r"scored at least 12 tokens of row r1, expected at most 8"):
        bits_per_byte([Row("r1", "Why?", "Ei.", "fi")], cutting, RENDER, 8)


@pytest.mark.parametrize("tokens", [24, 10_000])
def test_bits_equal_those_of_a_plain_forward_pass(engine: TransformersEngine, rows: list[Row], tokens: int) -> None:
    short = [replace(row, completion=row.completion[:120]) for row in rows]
    found = bits_per_byte(short, engine, RENDER, min(tokens, 1_000))
    for row, measured in zip(short, found, strict=True):
        part = engine.truncate(row.completion, tokens)
        assert measured.bytes == len(part.encode())
        bits, read = naive(engine, replace(row, completion=part), tokens)
        assert measured.bits == pytest.approx(bits, rel=1e-5)
        assert read <= tokens
    whole = sum(len(row.completion.encode()) for row in short)
    assert (sum(m.bytes for m in found) == whole) == (tokens == 10_000)


def test_the_whole_part_is_scored_if_tokens_are_only_estimated() -> None:
    asked = Scripted(Scored(-3 * math.log(2), 50, 60))
    assert bits_per_byte([Row("r1", "Why?", "abcdefghijk", "fi")], asked, RENDER, 2) == [Likelihood(3.0, 6)]
    assert [(r.continuation, r.max_tokens) for r in asked.asked] == [("abcdef", 0)]  # type: ignore[attr-defined]


def test_answers_are_greedy(engine: TransformersEngine, rows: list[Row]) -> None:
    for row, answer in zip(rows, answers(rows, engine, RENDER, 6), strict=True):
        ids = engine.tokenizer(RENDER(row.prompt), return_tensors="pt")["input_ids"]
        for _ in range(6):
            with torch.inference_mode():
                ids = torch.cat([ids, engine.network(ids).logits[:, -1:].argmax(-1)], dim=1)
        written = ids[0, -6:].tolist()
        ended = written.index(1) if 1 in written else 6
        assert answer == engine.tokenizer.decode(written[:ended], skip_special_tokens=True)


def row(id: str, bits: float, size: int, right: bool, tag: str = "fi") -> RowResult:
    return RowResult(id, tag, "t", bits, size, "", right)


def test_figures_by_hand() -> None:
    held = [
        row("a", 2.0, 4, True),
        row("b", 10.0, 2, False),
        row("c", 1.0, 1, True, "th"),
        row("d", 5.0, 1, True, "th"),
    ]
    found = summary(held)
    assert list(found) == ["fi", "th", "all"]
    # (2 + 10) / (4 + 2) bits, and not the mean of 0.5 and 5.
    fi = found["fi"]
    assert (fi.rows, fi.bits_per_byte, fi.language_accuracy, fi.quality, fi.score) == (2, 2.0, 0.5, 0.25, 0.125)
    th = found["th"]
    assert (th.rows, th.bits_per_byte, th.language_accuracy, th.quality, th.score) == (2, 3.0, 1.0, 0.125, 0.125)
    everything = found["all"]
    assert (everything.rows, everything.bits_per_byte, everything.language_accuracy) == (4, 18 / 8, 0.75)
    assert everything.score == pytest.approx(0.75 * 2**-2.25)
    # Both rows, or one of them twice: one in four each, so these are the ends.
    assert fi.bits_per_byte_interval == (0.5, 5.0)
    assert fi.language_accuracy_interval == (0.0, 1.0)
    assert fi.score_interval == (0.0, 2**-0.5)
    assert th.language_accuracy_interval == (1.0, 1.0)


def test_the_interval_of_one_row_is_the_row() -> None:
    found = summary([row("a", 3.0, 3, True)])["all"]
    assert (found.bits_per_byte_interval, found.score_interval) == ((1.0, 1.0), (0.5, 0.5))


def test_an_interval_is_as_wide_as_theory_says() -> None:
    held = [row(str(n), 1.0 + n % 2, 1, n % 10 < 3) for n in range(1_000)]
    found = summary(held)["all"]
    low, high = found.language_accuracy_interval
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.3 * 0.7 / 1_000), rel=0.08)
    low, high = found.bits_per_byte_interval
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(1_000), rel=0.08)
    assert summary(held)["all"] == found != summary(held, seed=1)["all"]


def test_no_rows_give_no_figures() -> None:
    with pytest.raises(CorpusError, match="there are no rows to evaluate"):
        summary([])


def test_differences_are_computed_by_pair() -> None:
    """If every row is better by the same amount, the interval is a point, however different the rows are."""
    a = [row(str(n), float(n * n), 10, n % 2 == 0) for n in range(40)]
    b = [replace(held, bits=held.bits + 5.0) for held in reversed(a)]
    found = difference(a, b)["all"]
    assert (found.rows, found.bits_per_byte, found.language_accuracy) == (40, pytest.approx(-0.5), 0.0)
    assert found.bits_per_byte_interval == (pytest.approx(-0.5), pytest.approx(-0.5))
    assert found.language_accuracy_interval == (0.0, 0.0)
    assert found.score > 0
    low, high = summary(a)["all"].bits_per_byte_interval
    assert high - low > 10


def test_differences_use_common_rows_only() -> None:
    a = [row("a", 2.0, 1, True), row("b", 4.0, 1, False), row("b", 1.0, 1, True, "th")]
    b = [row("b", 1.0, 1, True), replace(a[0], text="other"), row("c", 9.0, 1, True)]
    found = difference(a, b)
    assert list(found) == ["fi", "all"]
    assert (found["fi"].rows, found["fi"].bits_per_byte, found["fi"].language_accuracy) == (1, 3.0, -1.0)
    assert found["fi"].score == -0.5
    with pytest.raises(CorpusError, match=r"\(3 and 1 rows\) have no row in common"):
        difference(a, [row("z", 1.0, 1, True)])


def test_measure_combines_bits_answers_and_languages(engine: TransformersEngine, rows: list[Row]) -> None:
    held = measure(rows, engine, RENDER, 16, 6)
    assert [(h.id, h.language) for h in held] == [(r.id, r.language) for r in rows]
    assert [(h.bits, h.bytes) for h in held] == bits_per_byte(rows, engine, RENDER, 16)
    assert [h.answer for h in held] == answers(rows, engine, RENDER, 6)
    assert len({h.text for h in held}) == len(rows)
    # The tiny model has learnt English titles only.
    assert not any(h.in_language for h in held)


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        (Row("1", "Why?", "x", "fi", asked_in="en"), "Why? Answer in Finnish."),
        (Row("1", "Why?", "x", "fi"), "Why? Answer in Finnish."),
        (Row("1", "Miksi?", "x", "fi", asked_in="fi"), "Miksi?"),
        (Row("1", "Why?", "x", "fi", tag=" Web.", asked_in="en"), "Why? Web."),
        (Row("1", "Why? Answer in Finnish.", "x", "fi", asked_in="en"), "Why? Answer in Finnish."),
    ],
)
def test_prompts_name_the_language_of_the_answer(row: Row, asked: str) -> None:
    assert with_cue([row])[0].tagged_prompt == asked


def test_unusable_rows_have_a_reason(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"id": "1", "instruction": "Why?", "input": "Rain", "output": "a \ud800", "language": "fin_Latn"},
        {"id": "1", "instruction": "Again?", "output": "b", "language": "fi"},
        {"id": "1", "instruction": "Why?", "output": "c", "language": "sw"},
        {"id": "2", "instruction": " ", "output": "d", "language": "fi"},
        {"id": "3", "instruction": "Why?", "output": "\n", "language": "fi"},
        {"id": "4", "instruction": "Why?", "output": "e"},
        {"id": "5", "instruction": "Why?", "output": "f", "language": "no such"},
    )
    rows, gone = read([str(path)])
    expected = [Row("1", "Why?\nRain", "a \ufffd", "fi"), Row("1", "Why?", "c", "sw")]
    assert rows == [replace(row, asked_in="en") for row in expected]
    assert {record.id: record.reason for record in gone} == {
        "1": "same_id",
        "2": "no_instruction",
        "3": "no_output",
        "4": "no_language",
        "5": "unknown_language",
    }
    assert [r.id for r in read([f"fi={write(tmp_path / 'one.jsonl', {'prompt': 'a', 'completion': 'b'})}"])[0]] == [
        "one.jsonl:1"
    ]


def test_the_tag_of_a_row_is_replaced_by_that_of_the_model(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"id": "1", "prompt": "Why?  Answer well.", "completion": "a", "language": "fi", "tag": "Answer well."},
        {"id": "2", "prompt": "Why?\n[fi]", "completion": "b", "language": "fi", "tag": "[fi]"},
        {"id": "3", "prompt": "Why?", "completion": "c", "language": "fi", "tag": "rain"},
        {"id": "4", "prompt": "Why? Answer in Finnish.", "completion": "d", "language": "fi"},
        {"id": "5", "prompt": "Why? Answer well.", "completion": "e", "language": "th", "tag": "Answer well."},
    )
    rows, _ = read([str(path)])
    plain = ["Why?  Answer well.", "Why?\n[fi]", "Why?", "Why? Answer in Finnish.", "Why? Answer well."]
    assert [row.tagged_prompt for row in rows] == plain
    assert [row.tagged_prompt for row in with_tags(rows, {"fi": "Answer in Finnish."})] == [
        "Why?  Answer in Finnish.",
        *["Why? Answer in Finnish."] * 3,
        "Why? Answer well.",
    ]
    assert with_tags(rows, {}) == rows


@pytest.mark.parametrize(
    ("row", "everywhere", "asked"),
    [
        (Row("1", "Why?", "x", "fi", asked_in="en"), False, "Why? In Finnish."),
        (Row("1", "Why?", "x", "fi"), False, "Why? In Finnish."),
        (Row("1", "Why?", "x", "fi", asked_in="zz-unknown"), False, "Why? In Finnish."),
        (Row("1", "Miksi?", "x", "fi", asked_in="fi"), False, "Miksi?"),
        (Row("1", "Miksi?", "x", "fi", asked_in="fin_Latn"), False, "Miksi?"),
        (Row("1", "Miksi?", "x", "fi", asked_in="fi"), True, "Miksi? In Finnish."),
        (Row("1", "Miksi?", "x", "fi", tag=" Web.", asked_in="fi"), False, "Miksi? In Finnish."),
    ],
)
def test_rows_in_the_language_of_the_answer_keep_their_prompt(row: Row, everywhere: bool, asked: str) -> None:
    assert with_tags([row], {"fi": "In Finnish."}, everywhere)[0].tagged_prompt == asked
    if everywhere or row.tag:
        return
    assert with_cue([row])[0].tagged_prompt == asked.replace("In Finnish", "Answer in Finnish")


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"metrics": 1, "results": 3}', "[" * 100_000])
def test_a_file_that_holds_no_results_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "held.json").write_text(text, "utf-8")
    with pytest.raises(CorpusError, match=r"held\.json is not a file of results \(.+\): name one that"):
        load(tmp_path / "held.json")


def test_a_tag_changes_bits_and_not_the_scored_text(engine: TransformersEngine, rows: list[Row]) -> None:
    plain = measure(rows, engine, RENDER, 8, 1)
    again = measure(with_tags(rows, {"fi": "Answer in Finnish."}), engine, RENDER, 8, 1)
    assert [held.text for held in plain] == [held.text for held in again]
    assert [a.bits == pytest.approx(b.bits) for a, b in zip(plain, again, strict=True)] == [False] * 2 + [True] * 4


def test_an_empty_selection_of_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"prompt": "a", "completion": "b"})
    with pytest.raises(CorpusError, match=r"no row to evaluate on \(no_language\)"):
        read([str(path)])
    with pytest.raises(CorpusError, match="has no train"):
        read([str(tmp_path)])


def test_limit_applies_to_each_language_and_ignores_order(tmp_path: Path) -> None:
    many = [
        {"id": f"{n}", "prompt": "a", "completion": "b", "language": tag} for tag in ("sw", "fi") for n in range(30)
    ]
    first, _ = read([str(write(tmp_path / "a.jsonl", *many))], 4)
    assert [r.language for r in first] == ["fi"] * 4 + ["sw"] * 4
    assert read([str(write(tmp_path / "a.jsonl", *reversed(many)))], 4)[0] == first
    assert [int(r.id) for r in first[:4]] != [0, 1, 2, 3]
    assert len(read([str(tmp_path / "a.jsonl")], 100)[0]) == 60


def test_the_held_out_split_of_a_folder_is_read(tmp_path: Path) -> None:
    for tag in ("fi", "sw"):
        (tmp_path / "data" / tag).mkdir(parents=True)
        for split in ("train", "test", "validation"):
            table = pa.table({"prompt": ["a"], "completion": [split], "language": [tag], "id": ["1"]})
            pq.write_table(table, tmp_path / "data" / tag / f"{split}-00000-of-00001.parquet")
    for split in ("test", "validation"):
        assert {source.path.name.split("-")[0] for source in held_out_files(str(tmp_path))} == {split}
        assert [row.completion for row in read([str(tmp_path)])[0]] == [split] * 2
        for path in tmp_path.rglob(f"{split}-*"):
            path.unlink()
    with pytest.raises(CorpusError, match=r"has only training rows: .*publish\.test .*name the file itself"):
        held_out_files(str(tmp_path))
    (tmp_path / "data" / "fi" / "test-00000-of-00001.parquet").touch()
    named = str(tmp_path / "data" / "fi" / "train-00000-of-00001.parquet")
    assert [str(source.path) for source in held_out_files(named)] == [named]
