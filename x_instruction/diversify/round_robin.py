"""Round-robin selection over clusters."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from x_instruction.diversify import Floats, Selection
from x_instruction.diversify.caps import Cap, Tally

Labels = npt.NDArray[np.intp]


def renumber(labels: npt.ArrayLike) -> Labels:
    """Number clusters by decreasing size, from 0: ``(n,)``. Equal clusters are numbered by their first row."""
    given = np.asarray(labels)
    _, first, inverse, sizes = np.unique(given, return_index=True, return_inverse=True, return_counts=True)
    new = np.empty(len(sizes), dtype=np.intp)
    new[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return new[inverse.reshape(given.shape)]


def checked(labels: Labels, scores: Floats, quota: int) -> npt.NDArray[np.float64]:
    """The validated scores, as float64.

    Raises:
        ValueError: a score is not a number, the quota is negative, or the numbers of labels and scores differ.
    """
    if labels.shape != np.shape(scores):
        raise ValueError(f"{labels.shape} labels and {np.shape(scores)} scores: expected one of each per row")
    if quota < 0:
        raise ValueError(f"quota is {quota}, expected 0 or more")
    bad = np.flatnonzero(np.isnan(scores))
    if bad.size:
        raise ValueError(f"{bad.size} scores are not numbers, the first in row {bad[0]}: drop those rows first")
    return np.asarray(scores, dtype=np.float64)


def turns(labels: npt.ArrayLike, scores: Floats, quota: int, caps: Sequence[Cap] = ()) -> list[Selection]:
    """In every turn, select the best remaining row of each cluster, in order of clusters, until the quota is reached.

    Small clusters are exhausted first, and large ones fill the rest. Of equal scores, the first row is selected. A
    cluster whose best row is excluded by a cap contributes its next best row in the same turn.

    Args:
        labels: cluster of each row, ``(n,)``, as from ``renumber``.
        scores: larger is better, ``(n,)``.
        quota: maximum number of rows.
        caps: maximum numbers of rows per group.

    Raises:
        ValueError: a score is not a number, or the quota is negative.
    """
    clusters = np.asarray(labels, dtype=np.intp)
    best_first = np.lexsort((np.arange(len(clusters)), -checked(clusters, scores, quota), clusters))
    # The rows of a cluster are adjacent, the best first.
    ends = np.flatnonzero(np.diff(clusters[best_first], append=-1)) + 1
    queues = [deque(part.tolist()) for part in np.split(best_first, ends[:-1])] if len(clusters) else []
    tally = Tally(len(clusters), caps)
    selected: list[Selection] = []
    while queues:
        for queue in queues:
            while queue and not tally.open[queue[0]]:
                queue.popleft()
            if queue and len(selected) < quota:
                row = queue.popleft()
                tally.take(row)
                selected.append(Selection(row=row, cluster=int(clusters[row]), rank=len(selected)))
        queues = [queue for queue in queues if queue and len(selected) < quota]
    return selected
