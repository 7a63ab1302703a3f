"""Statistics of judgements, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.errors import CorpusError
from x_instruction.evaluation.judge.statistics import (
    agreement,
    bradley_terry,
    draw_weights,
    kappa,
    length_controlled,
    mean_estimate,
    means,
    side_by_side,
    sign_flip,
)
from x_instruction.evaluation.judge.verdicts import OVERALL, Call, Comparison, Judgement, over_aspects


def judgement(forward: float | None, backward: float | None, aspect: str = OVERALL) -> Judgement:
    comparison = Comparison(
        question_id="1", question="?", question_language="en", language="sw", systems=("a", "b"), answers=("x", "yy")
    )
    calls = [Call(failure="not_parsed") if p is None else Call(preference=p) for p in (forward, backward)]
    return Judgement(comparison=comparison, aspect=aspect, forward=calls[0], backward=calls[1])


@pytest.mark.parametrize(
    ("forward", "backward", "value", "consistent", "first"),
    [
        (1.0, 0.0, 1.0, True, [1, -1]),
        (0.0, 1.0, 0.0, True, [-1, 1]),
        (1.0, 1.0, 0.5, False, [1, 1]),
        (0.0, 0.0, 0.5, False, [-1, -1]),
        (0.5, 0.5, 0.5, True, [0, 0]),
        (1.0, 0.5, 0.5, False, [1, 0]),
        (0.9, 0.4, 1.0, True, [1, -1]),
        (None, 0.0, None, None, [-1]),
        (None, None, None, None, []),
    ],
)
def test_a_win_needs_both_orders(
    forward: float | None, backward: float | None, value: float | None, consistent: bool | None, first: list[int]
) -> None:
    judged = judgement(forward, backward)
    assert judged.value == value
    assert judged.is_consistent is consistent
    assert judged.first_shown == first
    swapped = judged.swapped()
    assert swapped.value == (None if value is None else 1 - value)
    assert swapped.comparison.systems == ("b", "a")


def test_the_preference_is_the_mean_over_both_orders() -> None:
    assert judgement(0.9, 0.4).preference == pytest.approx(0.75)
    assert judgement(0.9, None).preference is None
    whole = over_aspects([judgement(0.9, 0.4, "fluency"), judgement(0.5, 0.2, "language")])
    assert whole.aspect == OVERALL
    assert whole.forward.preference == pytest.approx(0.7)
    assert whole.backward.preference == pytest.approx(0.3)
    assert over_aspects([judgement(0.9, 0.4), judgement(None, 0.4)]).forward.failure == "not_parsed"


def test_side_by_side_score_of_the_pinch_paper() -> None:
    found = side_by_side([1, 1, 0.5, 0], ["1", "2", "3", "4"])
    assert (found.win.value, found.tie.value, found.loss.value) == (0.5, 0.25, 0.25)
    assert found.score.value == 0.625
    assert found.score.low < 0.625 < found.score.high
    assert math.isnan(side_by_side([], []).win.value)


@pytest.mark.parametrize(("questions", "low"), [(range(8), 0.6756), (["1", "2"] * 4, 0.3424)])
def test_the_interval_of_wins_is_wilsons(questions: Sequence[object], low: float) -> None:
    """8 / (8 + 1.96 ** 2) for eight questions, and the complement for losses."""
    found = side_by_side([1.0] * 8, list(map(str, questions)))
    assert (found.win.low, found.win.high) == (pytest.approx(low, abs=1e-4), 1.0)
    assert (found.loss.low, found.loss.high) == (0.0, pytest.approx(1 - low, abs=1e-4))
    assert found.score == found.win


def test_intervals_are_over_questions() -> None:
    """Ten rows of two questions vary like two rows, not like ten."""
    values = [1.0] * 5 + [0.0] * 5
    by_question = mean_estimate(values, ["1"] * 5 + ["2"] * 5)
    by_row = mean_estimate(values, list(range(10)))
    assert (by_question.low, by_question.high) == (0.0, 1.0)
    assert 0.1 < by_row.low < by_row.high < 0.9
    assert by_question.value == by_row.value == 0.5


def test_the_bootstrap_by_question_by_hand() -> None:
    """Questions of 1 and 3 rows: the draws are (1, 1), (1, 2), (2, 1), (2, 2), with means 1, 1/4, 1/4 and 0."""
    weights = draw_weights(["1", "2", "2", "2"])
    assert weights[0].tolist() == [1, 1, 1, 1]
    assert {tuple(row) for row in weights[1:]} == {(2, 0, 0, 0), (1, 1, 1, 1), (0, 2, 2, 2)}
    found = means(weights, [1.0, 0.0, 0.0, 0.0])
    assert found[0] == 0.25
    assert set(found[1:]) == {1.0, 0.25, 0.0}
    assert np.mean(found[1:] == 0.25) == pytest.approx(0.5, abs=0.06)


def test_means_ignore_missing_values() -> None:
    assert means(np.array([[1.0, 1.0, 2.0], [0.0, 3.0, 0.0]]), [0.0, math.nan, 1.0]).tolist() == pytest.approx(
        [2 / 3, math.nan], nan_ok=True
    )


def test_bradley_terry_of_two_systems_is_the_log_odds() -> None:
    fitted = bradley_terry([("a", "b")] * 4, [1, 1, 1, 0], range(4), prior=0)
    assert fitted.systems == ("a", "b")
    assert fitted.strengths[0].value - fitted.strengths[1].value == pytest.approx(math.log(3))
    smoothed = bradley_terry([("a", "b")] * 4, [1, 1, 1, 0], range(4))
    assert 2 * smoothed.strengths[0].value == pytest.approx(math.log(3.5 / 1.5))


def test_bradley_terry_of_three_systems() -> None:
    """Odds of 2 to 1, 2 to 1 and 4 to 1 are those of strengths one ln 2 apart."""
    games = {("a", "b"): (2, 1), ("b", "c"): (2, 1), ("a", "c"): (4, 1)}
    pairs = [pair for pair, counts in games.items() for _ in range(sum(counts))]
    values = [value for wins, losses in games.values() for value in [1.0] * wins + [0.0] * losses]
    fitted = bradley_terry(pairs, values, range(len(pairs)), prior=0)
    strengths = dict(zip(fitted.systems, fitted.strengths, strict=True))
    assert [strengths[name].value for name in "abc"] == pytest.approx([math.log(2), 0, -math.log(2)], abs=1e-6)
    assert strengths["a"].low < strengths["a"].value < strengths["a"].high


def test_a_system_that_always_wins_has_a_finite_strength() -> None:
    fitted = bradley_terry([("a", "b"), ("c", "b")] * 20, [1.0] * 40, [n // 2 for n in range(40)])
    assert all(math.isfinite(estimate.low) and math.isfinite(estimate.high) for estimate in fitted.strengths)
    assert fitted.strengths[0].value == pytest.approx(fitted.strengths[2].value)


def test_unconnected_systems_are_refused() -> None:
    with pytest.raises(CorpusError, match="c is not compared with a, not even through other systems"):
        bradley_terry([("a", "b"), ("c", "d")], [1, 0], ["1", "1"])


def test_length_control_by_hand() -> None:
    """Two differences of one size: the constant is the mean of the log-odds of both groups."""
    preferences, own, other = [0.9, 0.7, 0.3, 0.1], [20, 20, 10, 10], [10, 10, 20, 20]
    # Means of 0.8 and 0.2 are opposite log-odds: all of the lead is length.
    assert length_controlled(preferences, own, other) == pytest.approx(0.5)
    odds = (math.log(0.8 / 0.2) + math.log(0.4 / 0.6)) / 2
    found = length_controlled([0.9, 0.7, 0.3, 0.5], own, other)
    assert found == pytest.approx(1 / (1 + math.exp(-odds)), abs=2e-3)


@pytest.mark.parametrize(
    ("preferences", "own", "other", "expected"),
    [
        ([], [], [], math.nan),
        ([1.0, 1.0], [5, 9], [1, 2], 1.0),
        ([1.0, 0.0, 0.5], [5, 5, 5], [5, 5, 5], 0.5),
        ([0.7], [5], [9], 0.7),
    ],
)
def test_length_control_of_edge_cases(
    preferences: list[float], own: list[int], other: list[int], expected: float
) -> None:
    assert length_controlled(preferences, own, other) == pytest.approx(expected, nan_ok=True)


# Made-up preferences, and what get_length_controlled_winrate of alpaca_eval 0.6.6 gives for them with the formula of
# length_controlled_minimal and a penalty without effect. benchmarks/length_control.py asks it for larger ones.
ALPACA = [
    ([1.0, 0.0, 0.8, 0.35, 1.0, 0.2], [310, 120, 480, 260, 900, 150], [200, 420, 300, 310, 250, 170], 0.430180),
    ([0.0, 0.0, 1.0, 0.1, 0.6, 0.4], [500, 640, 380, 720, 410, 830], [230, 120, 400, 260, 390, 170], 0.788684),
]


@pytest.mark.parametrize(("preferences", "own", "other", "expected"), ALPACA)
def test_length_control_equals_alpaca_eval(
    preferences: list[float], own: list[int], other: list[int], expected: float
) -> None:
    assert length_controlled(preferences, own, other) == pytest.approx(expected, abs=3e-3)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 2000), st.integers(0, 2000)), min_size=1, max_size=30))
def test_length_control_is_a_share_and_symmetric(rows: list[tuple[float, int, int]]) -> None:
    p, own, other = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found, mirrored = length_controlled(p, own, other), length_controlled(1 - p, other, own)
    assert 0 <= found <= 1
    assert found + mirrored == pytest.approx(1, abs=1e-6)


def test_kappa_by_hand() -> None:
    """The textbook table of 20, 5, 10 and 15: observed 0.7, by chance 0.5."""
    one = ["yes"] * 25 + ["no"] * 25
    other = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert kappa(one, other) == pytest.approx(0.4)
    found = agreement(one, other, range(50))
    assert found.value == pytest.approx(0.4)
    assert 0.1 < found.low < 0.4 < found.high < 0.7
    assert math.isnan(kappa([], []))
    assert math.isnan(kappa(["tie"], ["tie"]))
    assert kappa(["1", "2"], ["2", "1"]) == -1


def test_the_sign_flip_test_by_hand() -> None:
    assert sign_flip([1.0] * 10, range(10), one_sided=True) == pytest.approx(1 / 1024, abs=1e-3)
    assert sign_flip([1.0] * 10, ["same"] * 10, one_sided=True) == pytest.approx(0.5, abs=0.02)
    assert sign_flip([1.0, -1.0, 1.0], range(3)) == 1.0
    assert sign_flip([], []) == sign_flip([0.0, 0.0], range(2)) == 1.0
    assert sign_flip([-1.0] * 10, range(10), one_sided=True) == 1.0


def test_noise_passes_the_test_about_as_often_as_its_level() -> None:
    random = np.random.default_rng(1)
    p = [
        sign_flip(random.choice([-0.5, 0.0, 0.5], size=36), [n // 3 for n in range(36)], one_sided=True)
        for _ in range(300)
    ]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.03)
