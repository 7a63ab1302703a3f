import numpy as np

from x_instruction.diversify import Draw
from x_instruction.diversify.random import select as random
from x_instruction.diversify.top import select as top

ROWS = np.eye(6, dtype=np.float32)


def rows(made):
    assert [choice.rank for choice in made] == list(range(len(made)))
    return [choice.row for choice in made]


def test_top_draws_by_score_and_then_row_order():
    assert rows(top(ROWS, np.array([1.0, 3, 2, 3, 0, -1]), Draw(4))) == [1, 3, 2, 0]
    assert rows(top(ROWS[:0], np.array([]), Draw(4))) == []


def test_random_depends_on_the_seed_and_is_uniform():
    scores = np.arange(6.0)
    assert rows(random(ROWS, scores, Draw(6, seed=3))) == rows(random(ROWS, -scores, Draw(6, seed=3)))
    drawn = np.zeros(6)
    for seed in range(600):
        drawn[rows(random(ROWS, scores, Draw(2, seed=seed)))] += 1
    # 200 each are expected; the standard deviation is 11.5.
    assert drawn.min() > 150
    assert drawn.max() < 250


def test_a_smaller_quota_gives_a_prefix_of_a_larger_one():
    scores = np.arange(6.0)
    for select in (top, random):
        assert rows(select(ROWS, scores, Draw(3, seed=1))) == rows(select(ROWS, scores, Draw(5, seed=1)))[:3]


def test_clusters_are_assigned_by_every_selector():
    near = np.repeat(np.eye(2, dtype=np.float32), [1, 4], axis=0)
    made = top(near, np.array([5.0, 0, 0, 0, 0]), Draw(2, clusters=2))
    assert [choice.cluster for choice in made] == [1, 0]
