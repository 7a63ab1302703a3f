"""The default selector: k-means on the unit sphere, then round-robin over clusters, best scores first.

``kmeans`` clusters all rows with scikit-learn, and starts from clusters of a few of them. ``sampled-kmeans`` finds the
clusters on a sample, for millions of rows. The time of both grows with about the 1.5th power of the number of rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.round_robin import Labels, checked, renumber, turns
from x_instruction.errors import MissingExtra

try:
    from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "sklearn", "embed") from error

# Most rows that ``sampled-kmeans`` finds its clusters on.
SAMPLE = 200_000
# Rows of a mini-batch, and rows that are labelled at once.
_BATCH, _BLOCK = 8_192, 16_384
# One start is enough: scikit-learn's k-means++ tries several points per centre, and the clusters only spread the
# selection, so a slightly better optimum is not worth a multiple of the time.
_STARTS = 1
# Rounds end early only when no row changes its cluster: scikit-learn needs another copy of all rows for a tolerance.
_TOLERANCE = 0
# Rows per cluster that ``kmeans`` draws its first centres from and that it improves them on, and the rounds on those
# rows and on all. More of each takes longer and makes the clusters no tighter (docs/benchmarks.md).
_SEEDING_ROWS, _START_ROWS = 8, 128
_START_ROUNDS, _ROUNDS = 15, 5


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """Select rows, deterministically.

    Raises:
        ValueError: a score or an embedding is not a number, or shapes differ.
    """
    return turns(cluster(embeddings, draw.clusters, draw.seed), scores, draw.quota, draw.caps)


def placed(embeddings: Floats, scores: Floats, draw: Draw) -> tuple[Labels, npt.NDArray[np.float64]]:
    """Cluster of every row, and the validated scores. Every selector begins with this.

    Raises:
        ValueError: a score or an embedding is not a number, or shapes differ.
    """
    labels = cluster(embeddings, draw.clusters, draw.seed)
    return labels, checked(labels, scores, draw.quota)


def cluster(embeddings: Floats, clusters: int | None, seed: int) -> Labels:
    """Cluster of each row of ``(n, d)``, numbered from the largest, from 0.

    k-means++ (Arthur and Vassilvitskii, SODA 2007) on a sample of the rows, rounds on a larger one, then rounds on all.

    Args:
        embeddings: of unit length, so that squared distance is twice one minus cosine.
        clusters: number of clusters; the square root of ``n`` if None, and never more than distinct points.
        seed: 32-bit seed.

    Raises:
        ValueError: an embedding is not a number.
    """
    rows = len(embeddings)
    if rows == 0:
        return np.empty(0, dtype=np.intp)
    _check(embeddings)
    number = _points(embeddings, clusters or round(math.sqrt(rows)))
    if number == 1:
        return np.zeros(rows, dtype=np.intp)
    settings: dict[str, Any] = {"n_clusters": number, "n_init": _STARTS, "tol": _TOLERANCE}
    start = KMeans(init=_first_centres, max_iter=_START_ROUNDS, random_state=seed, **settings)
    # One thread: several add to the centres in the order in which they finish, so the last digits would be random.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Points that differ only by rounding leave clusters empty, which is harmless: renumber closes the gaps.
        warnings.simplefilter("ignore", ConvergenceWarning)
        centres = start.fit(_drawn(embeddings, number * _START_ROWS, np.random.RandomState(seed))).cluster_centers_
        means = KMeans(init=centres, max_iter=_ROUNDS, **settings)
        return renumber(means.fit_predict(embeddings))


def _first_centres(rows: Floats, n_clusters: int, random_state: np.random.RandomState) -> Floats:
    """The centres that k-means begins with, as scikit-learn asks for them."""
    drawn = _drawn(rows, n_clusters * _SEEDING_ROWS, random_state)
    centres: Floats = kmeans_plusplus(drawn, n_clusters, random_state=random_state)[0]
    return centres


def _drawn(rows: Floats, most: int, random: np.random.RandomState) -> Floats:
    """So many rows at random, in their order, or all if there are fewer."""
    return rows if len(rows) <= most else rows[np.sort(random.choice(len(rows), most, replace=False))]


def select_sampled(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """As ``select``, with clusters that are found on a sample of the rows.

    Raises:
        ValueError: a score or an embedding is not a number, or shapes differ.
    """
    return turns(cluster_sampled(embeddings, draw), scores, draw.quota, draw.caps)


def cluster_sampled(embeddings: Floats, draw: Draw) -> Labels:
    """Cluster of each row of ``(n, d)``: mini-batch k-means (Sculley, WWW 2010) on a sample, then the nearest centre.

    The rows with the ``SAMPLE`` smallest ``draw.keys`` are the sample, so a row that is added replaces one row at most.
    Rows are read in blocks, so they may be a memory map.
    """
    rows = len(embeddings)
    if rows == 0:
        return np.empty(0, dtype=np.intp)
    sample = np.asarray(embeddings[_sampled(rows, draw)], dtype=np.float32)
    _check(embeddings)
    number = _points(sample, draw.clusters or round(math.sqrt(rows)))
    if number == 1:
        return np.zeros(rows, dtype=np.intp)
    means = MiniBatchKMeans(n_clusters=number, n_init=_STARTS, random_state=draw.seed, batch_size=_BATCH)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(sample)
        return renumber(np.concatenate([means.predict(part) for part in _blocks(embeddings)]))


def _sampled(rows: int, draw: Draw) -> npt.NDArray[np.intp]:
    """The rows of the sample, sorted."""
    if rows <= SAMPLE:
        return np.arange(rows)
    keys = draw.keys
    if keys is None:
        keys = np.random.default_rng(0).integers(1 << 63, size=rows, dtype=np.uint64)
    # With other bits inverted, other keys are the smallest.
    mask = np.random.default_rng(draw.seed).integers(1 << 63, dtype=np.uint64)
    return np.sort(np.lexsort((np.arange(rows), keys ^ mask))[:SAMPLE])


def _check(embeddings: Floats) -> None:
    if not all(np.isfinite(part).all() for part in _blocks(embeddings)):
        raise ValueError("an embedding is not a number")


def _blocks(embeddings: Floats) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, len(embeddings), _BLOCK):
        yield np.ascontiguousarray(embeddings[start : start + _BLOCK], dtype=np.float32)


def _points(embeddings: Floats, most: int) -> int:
    """Number of distinct rows, at most ``most``."""
    found: set[bytes] = set()
    for row in embeddings:
        # Adding zero turns -0.0 into 0.0, which has other bytes.
        found.add((row + 0.0).tobytes())
        if len(found) == most:
            break
    return len(found)
