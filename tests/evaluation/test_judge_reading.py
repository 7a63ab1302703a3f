"""Reading the answers of judges, by hand and from real texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_texts import DATA, needs_real_texts

from x_instruction.evaluation.judge.reading import read_choice, read_order, read_scores


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("<score1>7</score1>\n<score2>10</score2>", (7, 10)),
        ("<think>first <score1>1</score1></think>The grades: <score2> 0 </score2> and <score1>9</score1>.", (9, 0)),
        ("<score1>7</score1>", None),
        ("<score2>7</score2>", None),
        ("", None),
        ("7 and 8", None),
        ("<score1>7</score1><score1>6</score1><score2>8</score2>", None),
        ("<score1>7<score2>8</score2>", None),
        ("<score1>7.5</score1><score2>8</score2>", None),
        ("<score1>seven</score1><score2>8</score2>", None),
        ("<score1>11</score1><score2>8</score2>", None),
        ("<score1>-1</score1><score2>8</score2>", None),
        ("<score1></score1><score2>8</score2>", None),
        ("<score1>7</score1><score2>8", None),
    ],
)
def test_scores_are_read(text: str, scores: tuple[int, int] | None) -> None:
    assert read_scores(text) == scores


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A", "A"),
        (" **B**.", "B"),
        ("<think>A or B?</think>B", "B"),
        ("The better reply is B, because it is whole.", "B"),
        ("Hence the answer is, A.", "A"),
        ("Therefore, the answer is: “B”", "B"),
        ('the answer is: "A" or "B".', None),
        ("The answer is A. No, the answer is B.", None),
        ("Reply B.", "B"),
        ("The better reply is reply A.", "A"),
        ("A is worse, so the better reply is B", "B"),
        ("The better reply is B, not A.", "B"),
        ("Answer B is worse than", None),
        ("Answer B is clearly worse, because it", None),
        ("Answer: B is worse.", None),
        ("The worse answer is A.", None),
        ("The less helpful answer is A.", None),
        ("I do not think that the better answer is A.", None),
        ("The answer is A or", None),
        ("Neither answer is B.", None),
        ("The answer that isn't good: the wrong answer is A", None),
        ("A good question", None),
        ("None of the above", None),
        ("", None),
    ],
)
def test_choices_are_read(text: str, label: str | None) -> None:
    assert read_choice(text, ("A", "B")) == label


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("Assistant 2 > Assistant 1 = Assistant 3", (2, 1, 2)),
        (
            "first Assistant 1 > Assistant 2 > Assistant 3, but after all: Assistant 3 > Assistant 2 > Assistant 1",
            (3, 2, 1),
        ),
        ("Answer B > Answer A = Answer C", (2, 1, 2)),
        ("All three are equally good.", (1, 1, 1)),
        ("All three are equally good. But the first is longer.", None),
        ("Assistant 1 > Assistant 2", None),
        ("Assistant 1 > Assistant 1 > Assistant 2", None),
        ("They are equal.", None),
    ],
)
def test_rankings_are_read(text: str, ranks: tuple[int, ...] | None) -> None:
    assert read_order(text, 3) == ranks


@needs_real_texts
@pytest.mark.parametrize("kind", ["coherence", "general"])
def test_rankings_of_real_judges_are_read(kind: str) -> None:
    rows = _rows(DATA / f"eval/judge_texts/review_output__en__{kind}__review.jsonl")
    assert [list(read_order(row["text"], 4) or ()) for row in rows] == [row["order"] for row in rows]


@needs_real_texts
@pytest.mark.parametrize(
    ("name", "labels", "unread"), [("xcopa_ta_cot", "01", 12), ("xstorycloze_sw_explain", "AB", 3)]
)
def test_choices_of_real_models_are_read(name: str, labels: str, unread: int) -> None:
    rows = _rows(DATA / f"eval/model_outputs/{name}.jsonl")
    read = [read_choice(row["output"], tuple(labels)) for row in rows]
    assert read.count(None) == unread
    for row, label in zip(rows, read, strict=True):
        recorded = row["prediction"]
        if label is None:
            # Nothing was recorded either, or the text names both.
            assert recorded not in labels or '"0" or "1"' in row["output"]
        elif recorded in labels:
            assert label == recorded
        else:
            # The recorded text is a part of the sentence behind "the answer is", which names the label.
            assert f"answer is {label}" in row["output"].replace(",", "").replace("(", "").replace(
                "could be", "is"
            ).replace("jibu ni", "answer is")


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
