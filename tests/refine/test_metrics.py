"""Metrics of raters by hand, and compared with naive loops."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.bootstrap import interval
from x_instruction.errors import EngineError
from x_instruction.refine.metrics import auroc, calibration_error, precision_recall

NAN, INF = math.nan, math.inf
Rows = st.lists(st.tuples(st.sampled_from([-INF, -1.5, 0.0, 0.25, 0.25000001, 3.0, INF]), st.booleans()), max_size=12)
Shares = st.lists(st.tuples(st.floats(0, 1) | st.sampled_from([0.0, 0.2, 1.0]), st.booleans()), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("scores", "good"), [([1.0], [True, False]), ([[1.0]], [[True]]), ([NAN, 1.0], [True, False]), ([], [True])]
)
def test_invalid_scores_are_refused(scores: list[float], good: list[bool]) -> None:
    for function in (auroc, calibration_error, lambda s, g: precision_recall(s, g, 0.5)[0]):
        with pytest.raises(EngineError, match=r"expected|remove these rows"):
            function(scores, good)


@pytest.mark.parametrize("p", [-0.01, 1.01, INF])
def test_invalid_probabilities_are_refused(p: float) -> None:
    with pytest.raises(EngineError, match="expected 0 to 1"):
        calibration_error([0.5, p], [True, False])


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"arrays have \[2, 1\] rows"):
        interval(auroc, ([1.0, 2.0], [True]), 10, 0)


@pytest.mark.parametrize(
    ("scores", "good", "expected"),
    [
        ([], [], NAN),
        ([1.0, 2.0], [True, True], NAN),
        ([1.0, 2.0], [False, False], NAN),
        ([1.0, 2.0], [False, True], 1.0),
        ([1.0, 2.0], [True, False], 0.0),
        ([1.0, 1.0], [True, False], 0.5),
        # Couples: 3 above 1, 3 above 2, 2 level with 2, 2 above 1: three and a half of four.
        ([3.0, 2.0, 2.0, 1.0], [True, True, False, False], 3.5 / 4),
    ],
)
def test_auroc_by_hand(scores: list[float], good: list[bool], expected: float) -> None:
    assert auroc(scores, good) == pytest.approx(expected, nan_ok=True)


@given(Rows)
def test_auroc_equals_counting_couples(rows: list[tuple[float, bool]]) -> None:
    good, bad = [s for s, g in rows if g], [s for s, g in rows if not g]
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(good, bad)]
    expected = sum(won) / len(won) if won else NAN
    assert auroc([s for s, _ in rows], [g for _, g in rows]) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.5, (2 / 3, 2 / 3)), (0.8, (1.0, 1 / 3)), (0.0, (3 / 5, 1.0)), (2.0, (NAN, 0.0))]
)
def test_precision_and_recall_by_hand(threshold: float, expected: tuple[float, float]) -> None:
    scores, good = [0.9, 0.5, 0.5, 0.4, 0.1], [True, True, False, False, True]
    assert precision_recall(scores, good, threshold) == pytest.approx(expected, nan_ok=True)


@given(Rows, st.sampled_from([-INF, 0.0, 0.25, 1.0]))
def test_precision_and_recall_equal_counting(rows: list[tuple[float, bool]], threshold: float) -> None:
    kept = [good for score, good in rows if score >= threshold]
    right, all_good = sum(kept), sum(good for _, good in rows)
    expected = (right / len(kept) if kept else NAN, right / all_good if all_good else NAN)
    found = precision_recall([s for s, _ in rows], [g for _, g in rows], threshold)
    assert found == pytest.approx(expected, nan_ok=True)


def test_calibration_error_by_hand() -> None:
    # Two bins: (0.2, bad) and (0.4, good) differ by |0.3 - 0.5|, (1, good) and (0.5, bad) by |0.75 - 0.5|.
    found = calibration_error([0.2, 0.4, 1.0, 0.5], [False, True, True, False], bins=2)
    assert found == pytest.approx(0.5 * 0.2 + 0.5 * 0.25)
    assert calibration_error([1.0, 0.0], [True, False]) == 0
    assert calibration_error([1.0, 0.0], [False, True]) == 1
    assert math.isnan(calibration_error([], []))


@given(Shares, st.integers(1, 15))
def test_calibration_error_equals_a_naive_loop(rows: list[tuple[float, bool]], bins: int) -> None:
    found: dict[int, list[tuple[float, bool]]] = {}
    for p, good in rows:
        found.setdefault(min(int(p * bins), bins - 1), []).append((p, good))
    expected = 0.0
    for part in found.values():
        gap = abs(sum(p for p, _ in part) / len(part) - sum(good for _, good in part) / len(part))
        expected += len(part) / len(rows) * gap
    assert calibration_error([p for p, _ in rows], [g for _, g in rows], bins) == pytest.approx(expected, abs=1e-12)


def test_an_interval_equals_a_naive_bootstrap() -> None:
    values = np.arange(20.0)
    found = interval(lambda rows: float(rows.mean()), (values,), 400, 3)
    random = np.random.default_rng(3)
    means = sorted(sum(float(values[row]) for row in random.integers(0, 20, 20)) / 20 for _ in range(400))
    # The 2.5th and 97.5th percentile of 400 values: at 9.975 and 389.025 between neighbours.
    assert found[0] == pytest.approx(means[9] + 0.975 * (means[10] - means[9]))
    assert found[1] == pytest.approx(means[389] + 0.025 * (means[390] - means[389]))


def test_the_bootstrap_draws_whole_rows() -> None:
    scores, good = np.arange(30.0), np.arange(30) >= 15
    assert interval(auroc, (scores, good), 50, 0) == (1.0, 1.0)


def test_an_interval_covers_the_truth_at_its_level() -> None:
    random, held = np.random.default_rng(0), 0
    for number in range(200):
        low, high = interval(lambda rows: float(rows.mean()), (random.normal(size=60),), 200, number)
        held += low <= 0 <= high
    assert 180 <= held <= 198


def test_draws_without_a_figure_are_skipped() -> None:
    # One good pair of three: a draw misses it in 8 of 27 cases.
    assert interval(auroc, ([3.0, 2.0, 1.0], [True, False, False]), 100, 0) == (1.0, 1.0)
    for scores, good in (([], []), ([1.0], [True])):
        assert all(math.isnan(end) for end in interval(auroc, (scores, good), 10, 0))
