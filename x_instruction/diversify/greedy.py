"""Greedy selection: the next row is the one with the largest gain, which depends on the rows selected before.

    gain of a row = value of the row - weight * its largest cosine with a selected row

Gains can only decrease. So only the gains of a pool, the rows with the largest ones, are kept up to date. Rows are
selected from the pool while its best gain exceeds the (outdated, so too high) gain of the best row outside. Then all
gains are updated with one matrix product for all rows selected since. Up to the rounding of float32, the result is that
of the plain greedy algorithm, with a fraction of the memory traffic and without an n x n matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from x_instruction.diversify import Floats
from x_instruction.diversify.caps import Cap, Tally
from x_instruction.errors import MissingExtra

try:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
except ModuleNotFoundError as error:
    raise MissingExtra("threadpoolctl", "embed") from error

# Rows in the pool: 2,048 x 384 numbers of four bytes fit into the cache of a core.
POOL = 2_048
# Rows compared with the newly selected ones at once.
BLOCK = 4_096
# The smallest possible cosine, used before any row is selected.
LEAST = -1.0


def greedy(
    embeddings: Floats,
    scores: Floats,
    quota: int,
    values: npt.NDArray[np.float64],
    weight: float,
    caps: Sequence[Cap] = (),
) -> list[int]:
    """Selected rows in order, at most ``quota``.

    Ties are broken by the higher score, then by the lower row number.

    Args:
        embeddings: ``(n, d)``, of unit length.
        scores: larger is better, ``(n,)``.
        quota: maximum number of rows.
        values: value of each row by itself, ``(n,)``.
        weight: weight of the largest cosine with a selected row, 0 or more.
        caps: maximum numbers of rows per group.
    """
    # Sorted by score, so that argmax, which returns the first maximum, breaks ties as documented.
    order = np.lexsort((np.arange(len(scores)), -np.asarray(scores, dtype=np.float64)))
    rows = np.ascontiguousarray(embeddings[order], dtype=np.float32)
    values = values[order]
    nearest = np.full(len(rows), LEAST, dtype=np.float32)
    tally = Tally(len(rows), [Cap(cap.reason, [cap.groups[row] for row in order], cap.most) for cap in caps])
    selected: list[int] = []
    # One thread: with more, sums are rounded differently, and the result would depend on the machine.
    with threadpool_limits(limits=1):
        while len(selected) < quota and tally.open.any():
            before = len(selected)
            _select_from_pool(rows, values, weight, nearest, tally, selected, quota)
            if len(selected) < quota:
                _update_nearest(rows, nearest, rows[selected[before:]])
    return [int(order[row]) for row in selected]


def _select_from_pool(
    rows: npt.NDArray[np.float32],
    values: npt.NDArray[np.float64],
    weight: float,
    nearest: npt.NDArray[np.float32],
    tally: Tally,
    selected: list[int],
    quota: int,
) -> None:
    """Select rows from a new pool while no row outside can be better; at least one row."""
    gains = np.where(tally.open, values - weight * nearest.astype(np.float64), -np.inf)
    pool = _largest(gains, POOL)
    gains[pool] = -np.inf
    outside = int(gains.argmax())
    bound = gains[outside]
    near, own, vectors = nearest[pool], values[pool], rows[pool]
    while len(selected) < quota:
        current = np.where(tally.open[pool], own - weight * near.astype(np.float64), -np.inf)
        index = int(current.argmax())
        best = current[index]
        if best == -np.inf or best < bound or (best == bound and outside < pool[index]):
            return
        selected.append(int(pool[index]))
        tally.take(int(pool[index]))
        np.maximum(near, vectors @ vectors[index], out=near)


def _largest(gains: npt.NDArray[np.float64], number: int) -> npt.NDArray[np.intp]:
    """Sorted indices of the ``number`` largest gains; the first of equal ones."""
    if len(gains) <= number:
        return np.arange(len(gains))
    cut = np.partition(gains, len(gains) - number)[len(gains) - number]
    above = np.flatnonzero(gains > cut)
    return np.sort(np.concatenate((above, np.flatnonzero(gains == cut)[: number - len(above)])))


def _update_nearest(
    rows: npt.NDArray[np.float32], nearest: npt.NDArray[np.float32], new: npt.NDArray[np.float32]
) -> None:
    """Update ``nearest``, the largest cosine of every row with a selected row, by the newly selected rows."""
    for start in range(0, len(rows), BLOCK):
        part = nearest[start : start + BLOCK]
        np.maximum(part, (rows[start : start + BLOCK] @ new.T).max(axis=1), out=part)
