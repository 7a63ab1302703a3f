"""Greedy draws that look at what is drawn already: the next row is the one with the largest gain.

    gain of a row = worth of the row - weight * its largest cosine with a row that is drawn

Gains only fall while rows are drawn. So a pool of the rows with the largest gains is kept exact, and drawn from as long
as its best beats what the best row outside had when the pool was made; then all gains are made exact again, with one
product of matrices for all rows drawn since. The result is that of the plain greedy algorithm, but for the rounding
of float32, at a fraction of its memory traffic; and no matrix of n x n is ever made.
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

# Rows kept exact: 2,048 x 384 numbers of four bytes stay in a core's cache.
POOL = 2_048
# Rows that meet the newly drawn ones at once.
BLOCK = 4_096
# Of two unit vectors no cosine is smaller; nothing is drawn yet.
LEAST = -1.0


def greedy(
    embeddings: Floats,
    scores: Floats,
    quota: int,
    worth: npt.NDArray[np.float64],
    weight: float,
    caps: Sequence[Cap] = (),
) -> list[int]:
    """Rows in the order in which they are drawn, at most ``quota``.

    Of equal gains the better scored row goes first, of equal scores the first row.

    Args:
        embeddings: ``(n, d)``, of unit length.
        scores: larger is better, ``(n,)``.
        quota: rows to draw at most.
        worth: of each row by itself, ``(n,)``.
        weight: of likeness to what is drawn, 0 or more.
        caps: rows of one group at most.
    """
    # Sorted by score, so that the first of the largest gains is the one that the rule wants.
    order = np.lexsort((np.arange(len(scores)), -np.asarray(scores, dtype=np.float64)))
    rows = np.ascontiguousarray(embeddings[order], dtype=np.float32)
    worth = worth[order]
    nearest = np.full(len(rows), LEAST, dtype=np.float32)
    tally = Tally(len(rows), [Cap(cap.reason, [cap.groups[row] for row in order], cap.most) for cap in caps])
    drawn: list[int] = []
    # One thread: two add up in another order, and the last digits would be another machine's.
    with threadpool_limits(limits=1):
        while len(drawn) < quota and tally.open.any():
            before = len(drawn)
            _draw(rows, worth, weight, nearest, tally, drawn, quota)
            if len(drawn) < quota:
                _meet(rows, nearest, rows[drawn[before:]])
    return [int(order[row]) for row in drawn]


def _draw(
    rows: npt.NDArray[np.float32],
    worth: npt.NDArray[np.float64],
    weight: float,
    nearest: npt.NDArray[np.float32],
    tally: Tally,
    drawn: list[int],
    quota: int,
) -> None:
    """Draw from a new pool while nothing outside it can be better; at least one row."""
    gains = np.where(tally.open, worth - weight * nearest.astype(np.float64), -np.inf)
    pool = _largest(gains, POOL)
    gains[pool] = -np.inf
    outside = int(gains.argmax())
    bound = gains[outside]
    near, own, here = nearest[pool], worth[pool], rows[pool]
    while len(drawn) < quota:
        now = np.where(tally.open[pool], own - weight * near.astype(np.float64), -np.inf)
        place = int(now.argmax())
        best = now[place]
        if best == -np.inf or best < bound or (best == bound and outside < pool[place]):
            return
        drawn.append(int(pool[place]))
        tally.take(int(pool[place]))
        np.maximum(near, here @ here[place], out=near)


def _largest(gains: npt.NDArray[np.float64], number: int) -> npt.NDArray[np.intp]:
    """Places of the largest gains, at most ``number``, in order of place; of equal ones the first."""
    if len(gains) <= number:
        return np.arange(len(gains))
    cut = np.partition(gains, len(gains) - number)[len(gains) - number]
    above = np.flatnonzero(gains > cut)
    return np.sort(np.concatenate((above, np.flatnonzero(gains == cut)[: number - len(above)])))


def _meet(rows: npt.NDArray[np.float32], nearest: npt.NDArray[np.float32], new: npt.NDArray[np.float32]) -> None:
    """Let every row's ``nearest`` take in the newly drawn ones."""
    for start in range(0, len(rows), BLOCK):
        part = nearest[start : start + BLOCK]
        np.maximum(part, (rows[start : start + BLOCK] @ new.T).max(axis=1), out=part)
