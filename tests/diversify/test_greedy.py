"""The greedy selectors against plain references that look at every row again in every step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.diversify import Draw, greedy
from x_instruction.diversify.caps import Cap
from x_instruction.diversify.k_center import select as k_center
from x_instruction.diversify.mmr import rank_share
from x_instruction.diversify.mmr import select as mmr

# Unit vectors whose products are exact in any arithmetic: axes, and corners of the cube, of four dimensions.
EXACT = [v for axis in np.eye(4) for v in (axis, -axis)]
EXACT += [np.array([a, b, c, d]) / 2 for a in (1, -1) for b in (1, -1) for c in (1, -1) for d in (1, -1)]


def chosen(select, rows, scores, **draw):
    made = select(np.asarray(rows, dtype=np.float32), np.asarray(scores, dtype=float), Draw(**draw))
    assert [choice.rank for choice in made] == list(range(len(made)))
    return [choice.row for choice in made]


def naive(rows, scores, quota, worth, weight, groups, most):
    """Gains of every row against every drawn row, in every step."""
    drawn = []
    while len(drawn) < quota:
        best = None
        for row in range(len(rows)):
            if row in drawn or sum(groups[row] is not None and groups[d] == groups[row] for d in drawn) >= most:
                continue
            gain = worth[row] - weight * max([-1.0, *(float(rows[row] @ rows[d]) for d in drawn)])
            if best is None or (gain, scores[row], -row) > best:
                best = (gain, scores[row], -row)
        if best is None:
            break
        drawn.append(-best[2])
    return drawn


def test_farthest_first_matches_a_worked_example():
    # On a circle: 0, 10, 90, 100, 180 degrees. The best scored first (10), then the one opposite, then between.
    angles = np.radians([0, 10, 90, 100, 180])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert chosen(k_center, rows, [1, 2, 0, 0, 0], quota=5) == [1, 4, 2, 0, 3]


def test_farthest_first_breaks_ties_by_score():
    assert chosen(k_center, [[1, 0], [-1, 0], [-1, 0], [1, 0]], [5, 1, 3, 5], quota=4) == [0, 2, 3, 1]


def test_rank_share_matches_a_worked_example():
    assert rank_share(np.array([3.0, -7.0, 3.0, 100.0])).tolist() == [0.5, 0.0, 0.5, 1.0]
    assert rank_share(np.array([4.0])).tolist() == [0.5]
    assert rank_share(np.array([])).tolist() == []


def test_marginal_relevance_matches_a_worked_example():
    rows = [[1, 0], [1, 0], [0, 1], [-1, 0]]
    scores = [9, 8, 2, 1]  # rank shares 1, 2/3, 1/3, 0
    # relevance 1/2: first row 0; then gains 1/3-1/2, 1/6-0, 0+1/2: row 3; then -1/6 against 1/6: row 2.
    assert chosen(mmr, rows, scores, quota=4, relevance=0.5) == [0, 3, 2, 1]
    # relevance 3/4: gains 1/2-1/4, 1/4-0, 0+1/4 are equal, so the best scored goes first.
    assert chosen(mmr, rows, scores, quota=2, relevance=0.75) == [0, 1]
    assert chosen(mmr, rows, scores, quota=4, relevance=1.0) == [0, 1, 2, 3]
    assert chosen(mmr, rows, scores, quota=4, relevance=0.0) == chosen(k_center, rows, scores, quota=4)


@pytest.mark.parametrize("select", [k_center, mmr])
def test_empty_and_invalid_rows(select):
    assert chosen(select, np.empty((0, 3)), [], quota=3) == []
    assert chosen(select, [[1.0, 0.0]], [0.0], quota=0) == []
    with pytest.raises(ValueError, match="embedding is not a number"):
        chosen(select, [[np.nan]], [0.0], quota=1)
    with pytest.raises(ValueError, match="scores are not numbers"):
        chosen(select, [[1.0]], [np.nan], quota=1)
    with pytest.raises(ValueError, match="expected one of each per row"):
        chosen(select, [[1.0]], [1.0, 2.0], quota=1)


@settings(max_examples=150, deadline=None)
@given(
    picks=st.lists(
        st.tuples(st.integers(0, len(EXACT) - 1), st.integers(0, 3), st.sampled_from([None, "a", "b"])), max_size=30
    ),
    quota=st.integers(0, 32),
    relevance=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    most=st.integers(1, 30),
    pool=st.integers(1, 8),
)
def test_both_selectors_equal_a_naive_implementation(picks, quota, relevance, most, pool):
    rows = np.array([EXACT[place] for place, _, _ in picks], dtype=np.float32).reshape(len(picks), 4)
    scores = np.array([score for _, score, _ in picks], dtype=float)
    groups = [group for _, _, group in picks]
    draw = {"quota": quota, "relevance": relevance, "caps": (Cap("domain_cap", groups, most),)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy, "POOL", pool)
        patch.setattr(greedy, "BLOCK", 5)
        worth = relevance * rank_share(scores)
        assert chosen(mmr, rows, scores, **draw) == naive(rows, scores, quota, worth, 1 - relevance, groups, most)
        assert chosen(k_center, rows, scores, **draw) == naive(
            rows, scores, quota, np.zeros(len(rows)), 1.0, groups, most
        )


def test_a_smaller_quota_gives_a_prefix_of_a_larger_one_and_the_input_is_unchanged():
    rows = np.random.default_rng(1).normal(size=(3_000, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = np.random.default_rng(2).normal(size=3_000)
    before = rows.copy()
    for select in (k_center, mmr):
        assert chosen(select, rows, scores, quota=400) == chosen(select, rows, scores, quota=900)[:400]
    assert (rows == before).all()


def test_k_rows_cover_within_a_factor_of_two_of_the_optimum():
    rows = np.random.default_rng(3).normal(size=(300, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def radius(drawn):
        return np.linalg.norm(rows[:, None] - rows[drawn][None], axis=2).min(axis=1).max()

    ours = radius(chosen(k_center, rows, np.zeros(300), quota=12))
    others = [radius(np.random.default_rng(seed).choice(300, 12, replace=False)) for seed in range(200)]
    assert ours <= 2 * min(others)
