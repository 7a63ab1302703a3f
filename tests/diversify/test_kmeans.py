import time
import tracemalloc

import numpy as np
import pytest

from x_instruction.diversify import Draw, kmeans
from x_instruction.diversify.kmeans import cluster, cluster_sampled, select, select_sampled


def groups(sizes, d=8, noise=0.02, seed=0):
    """Unit vectors around one axis per group."""
    generator = np.random.default_rng(seed)
    rows = np.concatenate([np.eye(d)[axis] + noise * generator.normal(size=(n, d)) for axis, n in enumerate(sizes)])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_planted_groups_are_found_largest_first():
    labels = cluster(groups([5, 20, 10]), 3, seed=1)
    assert labels.tolist() == [2] * 5 + [0] * 20 + [1] * 10


def test_every_group_is_drawn_once_before_any_is_drawn_twice():
    chosen = select(groups([5, 20, 10]), np.arange(35.0), Draw(4, 3, 1))
    # The best of each group is its last row; then the second best of the largest.
    assert [(choice.row, choice.cluster) for choice in chosen] == [(24, 0), (34, 1), (4, 2), (23, 0)]


def test_the_square_root_is_the_number_of_clusters_by_default():
    rows = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    assert cluster(rows, None, seed=0).max() + 1 == 10


@pytest.mark.parametrize("clusters", [None, 1, 3, 50])
@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_fewer_rows_than_clusters_are_all_drawn(n, clusters):
    rows = groups([1, 1, 1, 1])[:n]
    chosen = select(rows, np.zeros(n), Draw(10, clusters, 0))
    assert sorted(choice.row for choice in chosen) == list(range(n))


@pytest.mark.parametrize("clusters", [None, 5])
def test_identical_embeddings_are_one_cluster(clusters):
    rows = np.repeat(groups([1]), 30, axis=0)
    chosen = select(rows, np.arange(30.0), Draw(3, clusters, 0))
    assert [(choice.row, choice.cluster) for choice in chosen] == [(29, 0), (28, 0), (27, 0)]


def test_rows_that_differ_only_by_rounding_raise_no_warning():
    rows = np.repeat(groups([1, 1]), 20, axis=0)
    rows[::3] += 1e-9
    rows[::4, 3] *= 1 + 1e-7
    labels = cluster(rows, 12, seed=0)
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1))


def test_negative_zero_equals_zero():
    assert cluster(np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32), 2, seed=0).tolist() == [0, 0]


def test_an_embedding_with_nan_is_refused():
    with pytest.raises(ValueError, match="embedding is not a number"):
        select(np.array([[1.0], [np.nan]]), np.zeros(2), Draw(1, None, 0))


def test_a_nan_score_is_refused():
    with pytest.raises(ValueError, match="scores are not numbers"):
        select(groups([3]), np.array([1.0, np.nan, 0.0]), Draw(1, None, 0))


def test_equal_input_gives_equal_draws():
    rows = np.random.default_rng(3).normal(size=(600, 32)).astype(np.float32)
    scores = np.random.default_rng(4).normal(size=600)
    assert select(rows, scores, Draw(200, 40, 5)) == select(rows, scores, Draw(200, 40, 5))


def test_ten_thousand_rows_take_seconds():
    rows = np.random.default_rng(0).normal(size=(10_000, 64)).astype(np.float32)
    begun = time.process_time()
    assert len(select(rows, np.zeros(10_000), Draw(5_000, None, 0))) == 5_000
    assert time.process_time() - begun < 30


def test_rows_are_copied_once():
    rows = groups([5_000] * 4, d=128)
    cluster(rows[:500], 4, seed=0)  # imports
    tracemalloc.start()
    cluster(rows, 4, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.6 * rows.nbytes


def test_a_sample_finds_planted_groups(monkeypatch):
    monkeypatch.setattr(kmeans, "SAMPLE", 40)
    rows, keys = groups([50, 200, 100]), np.random.default_rng(5).integers(1 << 63, size=350, dtype=np.uint64)
    labels = cluster_sampled(rows, Draw(0, 3, seed=1, keys=keys))
    assert labels.tolist() == [2] * 50 + [0] * 200 + [1] * 100


def test_the_sample_does_not_depend_on_the_order_of_rows(monkeypatch):
    monkeypatch.setattr(kmeans, "SAMPLE", 100)
    generator = np.random.default_rng(2)
    keys = generator.integers(1 << 63, size=1_000, dtype=np.uint64)
    drawn = set(keys[kmeans._sampled(1_000, Draw(0, seed=3, keys=keys))].tolist())
    order = generator.permutation(1_000)
    assert len(drawn) == 100
    assert set(keys[order][kmeans._sampled(1_000, Draw(0, seed=3, keys=keys[order]))].tolist()) == drawn
    assert set(keys[kmeans._sampled(1_000, Draw(0, seed=4, keys=keys))].tolist()) != drawn
    # A row that is added replaces one row at most.
    added = np.append(keys, np.uint64(17))
    assert len(drawn - set(added[kmeans._sampled(1_001, Draw(0, seed=3, keys=added))].tolist())) <= 1


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_few_rows_are_all_sampled(n):
    chosen = select_sampled(groups([1, 1, 1, 1])[:n], np.zeros(n), Draw(10, None, 0))
    assert sorted(choice.row for choice in chosen) == list(range(n))


def test_sampled_clustering_refuses_nan():
    with pytest.raises(ValueError, match="embedding is not a number"):
        select_sampled(np.array([[1.0], [np.nan]]), np.zeros(2), Draw(1, None, 0))
