"""Drawing from clusters in turn: pure arithmetic, for every selector that has clusters."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from x_instruction.diversify import Floats, Selection
from x_instruction.diversify.caps import Cap, Tally

Labels = npt.NDArray[np.intp]


def renumber(labels: npt.ArrayLike) -> Labels:
    """Cluster numbers ``(n,)`` from 0 for the largest cluster; among equal ones, for the one with the first row."""
    given = np.asarray(labels)
    _, first, inverse, sizes = np.unique(given, return_index=True, return_inverse=True, return_counts=True)
    new = np.empty(len(sizes), dtype=np.intp)
    new[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return new[inverse.reshape(given.shape)]


def checked(labels: Labels, scores: Floats, quota: int) -> npt.NDArray[np.float64]:
    """The scores as they are ranked.

    Raises:
        ValueError: a score is not a number, or the quota is negative, or there is not one score per label.
    """
    if labels.shape != np.shape(scores):
        raise ValueError(f"{labels.shape} labels and {np.shape(scores)} scores: wanted one of each per row")
    if quota < 0:
        raise ValueError(f"quota is {quota}, wanted 0 or more")
    bad = np.flatnonzero(np.isnan(scores))
    if bad.size:
        raise ValueError(f"{bad.size} scores are not numbers, the first in row {bad[0]}: drop those rows first")
    return np.asarray(scores, dtype=np.float64)


def turns(labels: npt.ArrayLike, scores: Floats, quota: int, caps: Sequence[Cap] = ()) -> list[Selection]:
    """Each turn takes the best remaining row of every cluster, in order of cluster, until the quota is full.

    Small clusters are used up first, and large ones fill the rest. Of equal scores the first row goes first. A row that
    a cap keeps out costs its cluster no turn: the next best takes its place.

    Args:
        labels: cluster of each row, ``(n,)``, as ``renumber`` gives them.
        scores: larger is better, ``(n,)``.
        quota: rows to take at most.
        caps: rows of one group at most.

    Raises:
        ValueError: a score is not a number, or the quota is negative.
    """
    clusters = np.asarray(labels, dtype=np.intp)
    best_first = np.lexsort((np.arange(len(clusters)), -checked(clusters, scores, quota), clusters))
    # Rows of a cluster stand together, the best first.
    ends = np.flatnonzero(np.diff(clusters[best_first], append=-1)) + 1
    queues = [deque(part.tolist()) for part in np.split(best_first, ends[:-1])] if len(clusters) else []
    tally = Tally(len(clusters), caps)
    chosen: list[Selection] = []
    while queues:
        for queue in queues:
            while queue and not tally.open[queue[0]]:
                queue.popleft()
            if queue and len(chosen) < quota:
                row = queue.popleft()
                tally.take(row)
                chosen.append(Selection(row=row, cluster=int(clusters[row]), rank=len(chosen)))
        queues = [queue for queue in queues if queue and len(chosen) < quota]
    return chosen
