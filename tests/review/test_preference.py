"""Pairs of two systems: sources, verdicts and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.review import preference
from x_instruction.review.answers import Answer, Rater
from x_instruction.review.sheet import Sheet

ROW = {"id": "1", "instruction": "Why is the sky blue?", "language": "sw"}
PAIR = ROW | {"output_a": "Kwa sababu.", "output_b": "Sijui."}


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def texts(sheet: Sheet) -> dict[str, tuple[str, ...]]:
    return {item.hidden["row"]: item.texts for item in sheet.items}


def rater(sheet: Sheet, number: int, **choices: str) -> Rater:
    """A rater who prefers a system (``first`` or ``second``), whatever order the page has."""
    turned = {"first": "second", "second": "first"}
    answers = {}
    for item in sheet.items:
        choice = choices[item.hidden["row"]]
        seen = turned.get(choice, choice) if sheet.swapped(number, item) else choice
        answers[item.id] = Answer(choices={"overall": seen})
    return Rater(f"rater {number}", Path("x"), number, answers)


def test_pairs_are_read_from_one_file_two_files_or_a_folder(tmp_path: Path) -> None:
    expected = ("Kwa sababu.", "Sijui.")
    one = preference.make([lines(tmp_path / "pairs.jsonl", PAIR)], (), (), 0)
    assert (texts(one), one.hidden["systems"]) == ({"1": expected}, ["A", "B"])
    files = [
        lines(tmp_path / f"{name}.jsonl", ROW | {"output": text}) for name, text in zip("ab", expected, strict=True)
    ]
    two = preference.make(files, (), (), 0)
    assert (texts(two), two.hidden["systems"]) == ({"1": expected}, ["a", "b"])
    questions = [{"question_id": n, "text": "Why?", "language": "en"} for n in (1, 2)]
    lines(tmp_path / "answers" / "sw" / "question.jsonl", *questions)
    for name, text in zip(("base", "tuned"), expected, strict=True):
        rows = [{"question_id": 1, "output": text}, {"question_id": 2, "output": "", "error": "timeout"}]
        lines(tmp_path / "answers" / "sw" / f"answer.sw.{name}.eval.jsonl", *rows)
    folder = preference.make([tmp_path / "answers"], (), (), 0)
    assert (texts(folder), folder.hidden["systems"]) == ({"sw/1": expected}, ["base", "tuned"])
    assert folder.items[0].instruction_language == "en"
    with pytest.raises(RecipeError, match="has the systems base, tuned in sw: name 2 of them with --names"):
        preference.make([tmp_path / "answers"], ("base", "other"), (), 0)


def test_verdicts_and_labels_by_hand(tmp_path: Path) -> None:
    rows = [PAIR | {"id": str(n), "language": tag} for n, tag in enumerate(("sw", "sw", "th", "th"))]
    sheet = preference.make([lines(tmp_path / "p.jsonl", *rows)], ("x", "y"), (), 0)
    choices = {"0": "first", "1": "tie", "2": "second", "3": "bad"}
    raters = [rater(sheet, 1, **choices), rater(sheet, 2, **(choices | {"2": "first"}))]
    by_language = {verdict.language: verdict for verdict in preference.verdicts(sheet, raters)}
    found = {tag: (one.wins, one.ties, one.losses, one.rate) for tag, one in by_language.items()}
    # The raters disagree about pair 2, which is a tie then.
    assert found == {"sw": (1, 1, 0, 0.75), "th": (0, 2, 0, 0.5), "": (1, 3, 0, 0.625)}
    levels = {label.id: label.level for label in preference.labels(sheet, raters)}
    assert levels == {"0/x": "best", "0/y": "flawed", "1/x": "best", "1/y": "best", "3/x": "worst", "3/y": "worst"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([PAIR, PAIR], "the id '1' occurs twice"),
        ([ROW], "output_a or answer_a or a is missing or empty"),
        ([PAIR | {"language": ""}], "language is missing or empty"),
        ([PAIR | {"instruction": " "}], "instruction or question or prompt or text is missing or empty"),
        ([PAIR | {"language": "xx-nonsense"}], "xx-nonsense"),
    ],
)
def test_incomplete_rows_are_reported(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises((CorpusError, RecipeError), match=message):
        preference.make([lines(tmp_path / "p.jsonl", *rows)], (), (), 0)


def test_answers_that_do_not_match_are_refused(tmp_path: Path) -> None:
    one = lines(tmp_path / "a.jsonl", ROW | {"output": "x"})
    with pytest.raises(CorpusError, match="2 ids, such as '1', are only in one of"):
        preference.make([one, lines(tmp_path / "b.jsonl", ROW | {"id": "2", "output": "x"})], (), (), 0)
    with pytest.raises(CorpusError, match="'1' is another question in"):
        preference.make([one, lines(tmp_path / "b.jsonl", ROW | {"instruction": "How?", "output": "x"})], (), (), 0)
    with pytest.raises(RecipeError, match="both systems are 'a'"):
        preference.make([one, lines(tmp_path / "c" / "a.jsonl", ROW | {"output": "y"})], (), (), 0)
    result = CliRunner().invoke(cli, ["review", "collect", str(one)])
    assert "has no key.json" in str(result.exception)
