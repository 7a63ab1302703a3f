"""Drawing from clusters in turn: pure arithmetic, for every selector that has clusters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from x_instruction.diversify import Chosen, Floats

Labels = npt.NDArray[np.intp]


def renumber(labels: npt.ArrayLike) -> Labels:
    """Cluster numbers ``(n,)`` from 0 for the largest cluster; among equal ones, for the one with the first row."""
    given = np.asarray(labels)
    _, first, inverse, sizes = np.unique(given, return_index=True, return_inverse=True, return_counts=True)
    new = np.empty(len(sizes), dtype=np.intp)
    new[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return new[inverse.reshape(given.shape)]


def draw(labels: npt.ArrayLike, scores: Floats, quota: int) -> list[Chosen]:
    """Each turn takes the best remaining row of every cluster, in order of cluster, until the quota is full.

    Small clusters are used up first, and large ones fill the rest. Of equal scores the first row goes first.

    Args:
        labels: cluster of each row, ``(n,)``, as ``renumber`` gives them.
        scores: larger is better, ``(n,)``.
        quota: rows to take at most.

    Raises:
        ValueError: a score is not a number, or the quota is negative.
    """
    clusters = np.asarray(labels, dtype=np.intp)
    if clusters.shape != np.shape(scores):
        raise ValueError(f"{clusters.shape} labels and {np.shape(scores)} scores: wanted one of each per row")
    if quota < 0:
        raise ValueError(f"quota is {quota}, wanted 0 or more")
    bad = np.flatnonzero(np.isnan(scores))
    if bad.size:
        raise ValueError(f"{bad.size} scores are not numbers, the first in row {bad[0]}: drop those rows first")
    rows = np.arange(len(clusters))
    best_first = np.lexsort((rows, -np.asarray(scores, dtype=np.float64), clusters))
    grouped = clusters[best_first]
    # Rows of a cluster stand together, so a row's turn is its distance from where its cluster begins.
    turn = rows - np.searchsorted(grouped, grouped)
    taken = np.lexsort((grouped, turn))[:quota]
    return [
        Chosen(row=int(best_first[place]), cluster=int(grouped[place]), rank=rank) for rank, place in enumerate(taken)
    ]
