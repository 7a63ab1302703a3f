"""Figures of rankings of good and bad pairs, computed for many draws of documents at once.

A draw says how often each document was drawn: (draws, documents), documents sorted by name. A figure takes draws and
gives (draws,). With every document drawn once it is the plain figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Draws = Callable[[Array], Array]


def auroc(scores: npt.ArrayLike, good: npt.ArrayLike, documents: Sequence[str]) -> Draws:
    """The chance that a good pair has a higher score than a bad one. Ties count half.

    Args:
        scores: (pairs,).
        good: (pairs,), true for good pairs.
        documents: the document of each pair.
    """
    values, flags = np.asarray(scores, dtype=np.float64), np.asarray(good, dtype=np.bool_)
    names, owner = np.unique(np.asarray(documents), return_inverse=True)
    own, other = values[flags][:, None], values[~flags]
    # How often the good pairs of one document win against the bad ones of another.
    cells = owner[flags][:, None] * len(names) + owner[~flags]
    won = (own > other) + 0.5 * (own == other)
    wins = np.bincount(cells.ravel(), won.ravel(), len(names) ** 2).reshape(len(names), len(names))
    numbers = [np.bincount(owner[chosen], minlength=len(names)).astype(np.float64) for chosen in (flags, ~flags)]
    return lambda drawn: _share(((drawn @ wins) * drawn).sum(axis=1), (drawn @ numbers[0]) * (drawn @ numbers[1]))


def average_precision(scores: npt.ArrayLike, good: npt.ArrayLike, documents: Sequence[str]) -> Draws:
    """The mean precision at the good pairs, best score first. Pairs with equal scores are kept together.

    Args:
        scores: (pairs,).
        good: (pairs,), true for good pairs.
        documents: the document of each pair.
    """
    values, flags = np.asarray(scores, dtype=np.float64), np.asarray(good, dtype=np.bool_)
    _, owner = np.unique(np.asarray(documents), return_inverse=True)
    order = np.argsort(-values, kind="stable")
    values, flags, owner = values[order], flags[order], owner[order]
    ends = np.append(np.nonzero(np.diff(values))[0], len(values) - 1)

    def figure(drawn: Array) -> Array:
        weights = drawn[:, owner]
        right = (weights * flags).cumsum(axis=1)[:, ends]
        precision = _share(right, weights.cumsum(axis=1)[:, ends])
        gained = np.diff(right, axis=1, prepend=0.0)
        return _share(np.nansum(gained * precision, axis=1), right[:, -1])

    return figure


def precision(kept: npt.ArrayLike, good: npt.ArrayLike, documents: Sequence[str]) -> Draws:
    """The share of good pairs among the kept ones.

    Args:
        kept: (pairs,), true for kept pairs.
        good: (pairs,), true for good pairs.
        documents: the document of each pair.
    """
    flags, right = np.asarray(kept, dtype=np.bool_), np.asarray(good, dtype=np.bool_)
    names, owner = np.unique(np.asarray(documents), return_inverse=True)
    numbers = [np.bincount(owner[rows], minlength=len(names)).astype(np.float64) for rows in (flags & right, flags)]
    return lambda drawn: _share(drawn @ numbers[0], drawn @ numbers[1])


def best(scores: npt.ArrayLike, number: int) -> npt.NDArray[np.int64]:
    """Positions of the best scores, the first one of equal scores first."""
    found: npt.NDArray[np.int64] = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")[:number]
    return found


def places(scores: npt.ArrayLike) -> tuple[Array, Array]:
    """Whether the first of several scores is the best one, and its rank, for each row.

    Args:
        scores: (rows, scores).

    Returns:
        (rows,) each: 1 if it is the best, 1/k if k scores are, and its rank from 1, the mean rank of equal scores.
    """
    values = np.asarray(scores, dtype=np.float64)
    own = values[:, :1]
    above, equal = (values > own).sum(axis=1), (values == own).sum(axis=1)
    return np.where(above == 0, 1 / equal, 0.0), above + (equal + 1) / 2


def _share(part: Array, whole: Array) -> Array:
    shares: Array = np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
    return shares
