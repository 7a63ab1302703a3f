"""Logistic regression with a ridge penalty, on standardized features."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from x_instruction.errors import CorpusError

Floats = npt.NDArray[np.float64]

# Of the squared weights, per row. It keeps weights finite where a feature separates all rows.
RIDGE = 0.001
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Logistic:
    """A fitted model: the probability is that of the log-odds ``intercept + features @ weights``.

    Args:
        weights: (features,), on the scale of the features.
        intercept: log-odds where all features are 0.
    """

    weights: tuple[float, ...]
    intercept: float

    def log_odds(self, features: npt.ArrayLike) -> Floats:
        """The log-odds of each row of (rows, features)."""
        odds: Floats = np.asarray(features, dtype=np.float64) @ np.array(self.weights) + self.intercept
        return odds


def fit(features: npt.ArrayLike, good: npt.ArrayLike, importance: npt.ArrayLike | None = None) -> Logistic:
    """Fit by Newton's method.

    Args:
        features: (rows, features).
        good: (rows,), true for good rows.
        importance: (rows,), the weight of each row; all 1 if not given.

    Raises:
        CorpusError: no row is good, or none is bad.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(good, dtype=np.float64)
    share = np.ones(len(y)) if importance is None else np.asarray(importance, dtype=np.float64)
    if not 0 < y.sum() < len(y):
        raise CorpusError(f"{int(y.sum())} of {len(y)} pairs are good, expected some good and some bad ones")
    mean = x.mean(axis=0)
    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    z = np.column_stack([np.ones(len(y)), (x - mean) / scale])
    penalty = np.diag([0.0, *[RIDGE * share.sum()] * x.shape[1]])
    beta = np.zeros(z.shape[1])
    for _ in range(_STEPS):
        p = sigmoid(z @ beta)
        gradient = z.T @ (share * (y - p)) - penalty @ beta
        step = np.linalg.solve(
            (z * (share * p * (1 - p))[:, None]).T @ z + penalty + 1e-9 * np.eye(len(beta)), gradient
        )
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    weights = beta[1:] / scale
    return Logistic(tuple(weights.tolist()), float(beta[0] - weights @ mean))


def fit_order(features: npt.ArrayLike, values: npt.ArrayLike, groups: Sequence[Hashable]) -> Floats:
    """Weights that order the rows of each group by their value, (features,).

    Every two rows of a group are compared, as in the model of Bradley and Terry (1952). A comparison counts by the
    difference of the values, and a group by its size. What all rows of a group share has no effect.

    Args:
        features: (rows, features).
        values: (rows,), larger is better.
        groups: group of each row.

    Raises:
        CorpusError: no group has two rows of different value.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(values, dtype=np.float64)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    owner = np.array([numbers[group] for group in groups])
    better, worse = np.nonzero((owner[:, None] == owner) & (y[:, None] > y))
    if not len(better):
        raise CorpusError("no group has two rows of different value, expected some that do")
    share = (y[better] - y[worse]) / np.bincount(owner)[owner[better]]
    difference = x[better] - x[worse]
    scale = np.where(difference.std(axis=0) > 0, difference.std(axis=0), 1.0)
    z = difference / scale
    beta = np.zeros(x.shape[1])
    penalty = RIDGE * share.sum() * np.eye(len(beta))
    for _ in range(_STEPS):
        p = sigmoid(z @ beta)
        step = np.linalg.solve(
            (z * (share * p * (1 - p))[:, None]).T @ z + penalty, z.T @ (share * (1 - p)) - penalty @ beta
        )
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    weights: Floats = beta / scale
    return weights


def sigmoid(odds: npt.ArrayLike) -> Floats:
    """``1 / (1 + exp(-odds))`` without overflow; NaN stays NaN."""
    values = np.asarray(odds, dtype=np.float64)
    small = np.exp(-np.abs(values))
    probabilities: Floats = np.where(values < 0, small, 1.0) / (1 + small)
    return probabilities
