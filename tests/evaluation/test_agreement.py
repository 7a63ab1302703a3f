"""Consistency, AC3 and Pinch's score by hand."""

from __future__ import annotations

from itertools import combinations

import pytest

from x_instruction.evaluation.agreement import ac3, agreement, consistency, side_by_side


def test_consistency_by_hand() -> None:
    # Items (A, A, B) and (C, C, C): of three pairs one and three agree; of one triple none and one.
    rows = [["A", "C"], ["A", "C"], ["B", "C"]]
    assert consistency(rows, 2) == pytest.approx([1 / 3, 1])
    assert consistency(rows, 3) == [0, 1]


def test_an_invalid_answer_agrees_with_nothing() -> None:
    assert consistency([["A"], [None], ["A"]], 2) == pytest.approx([1 / 3])
    assert consistency([[None], [None], [None]], 2) == [0]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_consistency_is_the_mean_over_all_sets(size: int) -> None:
    rows = ["ABCAB", "ABDAA", "ACCBA", "ABCA-"]
    answers = [[None if a == "-" else a for a in row] for row in rows]
    for item, share in enumerate(consistency(answers, size)):
        sets = list(combinations([row[item] for row in answers], size))
        assert share == pytest.approx(sum(None not in s and len(set(s)) == 1 for s in sets) / len(sets))


@pytest.mark.parametrize("size", [1, 4])
def test_a_set_of_the_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size is {size}, expected 2 to 3"):
        consistency([[1], [1], [1]], size)


def test_ac3_by_hand() -> None:
    assert ac3(0.5, 0.25) == pytest.approx(1 / 3)
    assert ac3(0.0, 0.0) == 0.0


def test_agreement_is_the_median_over_prompts() -> None:
    # Two languages, two items whose right answers are 0 and 1. Accuracy, consistency and so AC3 by prompt:
    prompts = [
        [[0, 1], [0, 1]],  # 1, 1, 1
        [[0, 0], [0, 0]],  # ½, 1, 2/3
        [[0, 0], [1, None]],  # ¼, 0, 0
    ]
    scores = [[[float(own == right) for own, right in zip(row, (0, 1), strict=True)] for row in p] for p in prompts]
    found = agreement(prompts, scores, 2)
    assert (found.accuracy, found.consistency) == (0.5, 1.0)
    assert found.ac3 == pytest.approx(2 / 3)
    assert found.invalid == pytest.approx(1 / 12)
    assert (found.languages, found.items, found.prompts, found.size) == (2, 2, 3, 2)
    low, high = found.ac3_interval
    assert 0 <= low <= found.ac3 <= high <= 1


def test_side_by_side_score_by_hand() -> None:
    # Two wins, one tie and one loss: (100 + 100 + 50 + 0) / 4.
    score, (low, high) = side_by_side([0, 0, 1, 1], [1, 1, 1, 0])
    assert score == 62.5
    assert low < 62.5 < high
    assert side_by_side([1, 1], [1, 1]) == (50.0, (50.0, 50.0))
    with pytest.raises(ValueError, match="no items"):
        side_by_side([], [])
