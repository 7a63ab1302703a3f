import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.diversify import Selection
from x_instruction.diversify.round_robin import renumber, turns


def test_clusters_are_numbered_from_the_largest():
    assert renumber([7, 3, 3, 9, 3, 9]).tolist() == [2, 0, 0, 1, 0, 1]


def test_equal_clusters_are_numbered_by_their_first_row():
    assert renumber([5, 1, 5, 1, 0]).tolist() == [0, 1, 0, 1, 2]


def test_no_rows_give_no_draws():
    assert renumber([]).tolist() == []
    assert turns([], np.array([]), 5) == []


def test_a_draw_matches_a_worked_example():
    labels = [0, 0, 0, 0, 1, 1, 2]
    scores = np.array([0.1, 0.9, 0.5, 0.7, 0.2, 0.3, -1.0])
    # First turn: the best of each cluster, even a bad one. Then cluster 2 is empty, then cluster 1.
    assert turns(labels, scores, 7) == [
        Selection(row=1, cluster=0, rank=0),
        Selection(row=5, cluster=1, rank=1),
        Selection(row=6, cluster=2, rank=2),
        Selection(row=3, cluster=0, rank=3),
        Selection(row=4, cluster=1, rank=4),
        Selection(row=2, cluster=0, rank=5),
        Selection(row=0, cluster=0, rank=6),
    ]
    assert [chosen.row for chosen in turns(labels, scores, 2)] == [1, 5]


def test_equal_scores_are_drawn_in_row_order():
    assert [chosen.row for chosen in turns([0, 0, 0], np.array([1.0, 1.0, 1.0]), 2)] == [0, 1]


def test_a_nan_score_is_refused():
    with pytest.raises(ValueError, match="1 scores are not numbers, the first in row 1"):
        turns([0, 0], np.array([1.0, float("nan")]), 1)


def test_a_negative_quota_is_refused():
    with pytest.raises(ValueError, match="quota is -1"):
        turns([0], np.array([1.0]), -1)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="expected one of each per row"):
        turns([0, 0], np.array([1.0]), 1)


rows = st.lists(st.tuples(st.integers(0, 5), st.floats(-1e6, 1e6)), max_size=60)


@given(rows, st.integers(0, 80))
def test_the_quota_is_met_exactly_without_repeating_rows(rows, quota):
    labels = renumber([label for label, _ in rows])
    chosen = turns(labels, np.array([score for _, score in rows]), quota)
    assert len(chosen) == min(quota, len(rows))
    assert len({choice.row for choice in chosen}) == len(chosen)
    assert [choice.rank for choice in chosen] == list(range(len(chosen)))
    assert all(choice.cluster == labels[choice.row] for choice in chosen)


@given(rows, st.integers(0, 80))
def test_clusters_with_rows_left_are_at_most_one_turn_apart(rows, quota):
    labels = renumber([label for label, _ in rows])
    scores = np.array([score for _, score in rows])
    chosen = turns(labels, scores, quota)
    taken = np.bincount([choice.cluster for choice in chosen], minlength=6)
    sizes = np.bincount(labels, minlength=6)
    open_ones = taken[taken < sizes]
    if open_ones.size:
        assert taken.max() <= open_ones.min() + 1
    for cluster in range(6):
        inside = [scores[choice.row] for choice in chosen if choice.cluster == cluster]
        assert inside == sorted(scores[labels == cluster], reverse=True)[: len(inside)]


@given(rows, st.integers(0, 79))
def test_a_smaller_quota_gives_a_prefix_of_a_larger_one(rows, quota):
    labels = renumber([label for label, _ in rows])
    scores = np.array([score for _, score in rows])
    assert turns(labels, scores, quota) == turns(labels, scores, quota + 1)[:quota]
