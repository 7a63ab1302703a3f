"""Statistics of judgements, each with a 95 % bootstrap interval over questions.

Questions are drawn, not judgements: the answers to one question, in several languages or of several systems, are not
independent of each other. A draw is a weight for each row, the number of times that its question was drawn. So every
statistic is computed for all draws at once, as a function of weights of shape (draws, rows).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from x_instruction.errors import CorpusError
from x_instruction.refine.logistic import sigmoid

Floats = npt.NDArray[np.float64]

DRAWS = 1_000
_PERCENTILES = (2.5, 97.5)
# Random signs of a test; its p-value is a multiple of 1 / 10,000.
_FLIPS = 9_999
# Of the squared slope of the length, so that it stays finite where length separates wins from losses. The constant, on
# which the win rate depends, has none but what keeps a matrix invertible.
_RIDGE, _TINY = 1e-3, 1e-9
_STEPS = 40
# Newton's method may overshoot where probabilities are near 0 or 1.
_LONGEST_STEP = 4.0
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; NaN where there is nothing to compute it from.

    Args:
        value: the figure.
        low, high: ends of the interval.
        n: number of rows that it is of.
    """

    value: float
    low: float
    high: float
    n: int

    def text(self, spec: str = ".2f") -> str:
        """The figure and its interval, such as ``0.52 (0.41 to 0.63)``."""
        if np.isnan(self.value):
            return "-"
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def draw_weights(questions: Sequence[Hashable], seed: int = 0, draws: int = DRAWS) -> Floats:
    """The weight of each row in each draw of the questions, (1 + draws, rows). The first draw is the data itself.

    Args:
        questions: the question of each row.
        seed: seed of the draws.
        draws: number of draws.
    """
    number = {question: row for row, question in enumerate(dict.fromkeys(questions))}
    owner = np.array([number[question] for question in questions], dtype=np.int64)
    weights = np.ones((1 + draws, len(owner)))
    if len(number):
        share = np.full(len(number), 1 / len(number))
        weights[1:] = np.random.default_rng(seed).multinomial(len(number), share, size=draws)[:, owner]
    return weights


def estimate(figures: npt.ArrayLike, n: int) -> Estimate:
    """The estimate of a figure.

    Args:
        figures: (1 + draws,), the figure of the data, then of each draw. Draws without one are left out.
        n: number of rows.
    """
    value, *drawn = np.asarray(figures, dtype=np.float64)
    numbers = np.array(drawn)[~np.isnan(drawn)]
    if np.isnan(value) or not len(numbers):
        return Estimate(float(value), _NAN, _NAN, n)
    low, high = np.percentile(numbers, _PERCENTILES).tolist()
    return Estimate(float(value), low, high, n)


def means(weights: Floats, values: npt.ArrayLike) -> Floats:
    """The mean of a column in each draw, (draws,). Rows that are NaN are left out; NaN if no row is left.

    Args:
        weights: (draws, rows).
        values: (rows,).
    """
    column = np.asarray(values, dtype=np.float64)
    valid = ~np.isnan(column)
    total = weights @ valid
    summed = weights @ np.where(valid, column, 0.0)
    return _ratio(summed, total)


def mean_of(columns: Sequence[Floats]) -> Floats:
    """The mean of several figures in each draw, without those that are NaN."""
    table = np.array(columns)
    valid = ~np.isnan(table)
    count = valid.sum(axis=0)
    summed = np.where(valid, table, 0.0).sum(axis=0)
    return _ratio(summed, count)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """The quotients; NaN where the whole is 0 or less."""
    found: Floats = np.divide(part, whole, out=np.full(len(whole), _NAN), where=whole > 0)
    return found


def share_estimate(figures: npt.ArrayLike, n: int, questions: Sequence[Hashable]) -> Estimate:
    """``estimate`` of a share, 0 to 1.

    Where all draws are equal, such as those of eight wins of eight, the bootstrap knows no doubt. The interval is then
    that of Wilson (1927) for the number of questions.
    """
    found = estimate(figures, n)
    if found.low != found.high:
        return found
    low, high = wilson(found.value, len(set(questions)))
    return Estimate(found.value, low, high, n)


def wilson(share: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which is sound for few rows and for shares of 0 and 1."""
    if not rows or math.isnan(share):
        return _NAN, _NAN
    z = 1.959964
    center = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    return max(0.0, center - half), min(1.0, center + half)


def mean_estimate(values: npt.ArrayLike, questions: Sequence[Hashable], seed: int = 0) -> Estimate:
    """The mean of values with its interval."""
    return estimate(means(draw_weights(questions, seed), values), len(questions))


def sign_flip(values: npt.ArrayLike, questions: Sequence[Hashable], seed: int = 0, one_sided: bool = False) -> float:
    """How likely a sum this far from 0 is by chance, if each question is as likely for as against (Fisher 1935).

    Unlike a bootstrap interval, it is right for few questions, too. It cannot be below ``2 ** -questions``.

    Args:
        values: (n,), 0 where neither side is favoured.
        questions: the question of each value. The signs of one question change together.
        seed: seed of the random signs.
        one_sided: only sums above 0 count.

    Returns:
        The p-value; 1 without values.
    """
    number = {question: row for row, question in enumerate(dict.fromkeys(questions))}
    sums = np.bincount([number[question] for question in questions], np.asarray(values, dtype=np.float64))
    if not np.any(sums):
        return 1.0
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(_FLIPS, len(sums)))
    drawn, found = signs @ sums, float(sums.sum())
    if not one_sided:
        drawn, found = np.abs(drawn), abs(found)
    return float((1 + np.sum(drawn >= found - _TINY)) / (1 + _FLIPS))


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Wins, ties and losses of A against B.

    Args:
        win, tie, loss: shares of the judgements with an answer.
        score: ``win + tie / 2``; 0.5 is parity (Pinch, arXiv 2401.01854, as a share).
    """

    win: Estimate
    tie: Estimate
    loss: Estimate
    score: Estimate


def side_by_side(values: npt.ArrayLike, questions: Sequence[Hashable], seed: int = 0) -> SideBySide:
    """Shares of wins, ties and losses.

    Args:
        values: 1 for a win of A, 0.5 for a tie, 0 for a loss.
        questions: the question of each.
        seed: seed of the intervals.
    """
    rows, weights = np.asarray(values, dtype=np.float64), draw_weights(questions, seed)
    columns = [rows == 1.0, rows == 0.5, rows == 0.0, rows]
    return SideBySide(*(share_estimate(means(weights, column), len(rows), questions) for column in columns))


def length_controlled(preferences: npt.ArrayLike, lengths: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """The win rate of A if its answers were as long as those of B (after AlpacaEval 2, arXiv 2404.04475).

    The preference is fitted as ``sigmoid(constant + slope * tanh(difference / deviation))``, with the difference of the
    lengths and its standard deviation. The constant gives the win rate at equal lengths. AlpacaEval's difficulties of
    its own questions are left out. Lengths are comparable within one language only.

    Args:
        preferences: (n,), for A, 0 to 1.
        lengths, others: (n,), characters of the answers of A and of B.

    Returns:
        0 to 1; NaN without rows.
    """
    preferences = np.asarray(preferences, dtype=np.float64)
    return float(_length_controlled(np.ones((1, len(preferences))), preferences, lengths, others)[0])


def length_controlled_estimate(
    preferences: npt.ArrayLike,
    lengths: npt.ArrayLike,
    others: npt.ArrayLike,
    questions: Sequence[Hashable],
    seed: int = 0,
) -> Estimate:
    """``length_controlled`` with its interval."""
    return estimate(_length_controlled(draw_weights(questions, seed), preferences, lengths, others), len(questions))


def _length_controlled(
    weights: Floats, preferences: npt.ArrayLike, lengths: npt.ArrayLike, others: npt.ArrayLike
) -> Floats:
    y = np.asarray(preferences, dtype=np.float64)
    difference = np.asarray(lengths, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    if not len(y):
        return np.full(len(weights), _NAN)
    count = weights.sum(axis=1, keepdims=True)
    centered = difference - (weights @ difference)[:, None] / count
    variance = (weights * centered**2).sum(axis=1, keepdims=True) / np.maximum(count - 1, 1)
    x = np.tanh(np.divide(difference, np.sqrt(variance), out=np.zeros_like(weights), where=variance > 0))
    constant, slope = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(_STEPS):
        p = sigmoid(constant[:, None] + slope[:, None] * x)
        curvature, rest = weights * p * (1 - p), weights * (y - p)
        # Newton's method for two parameters, by the inverse of a symmetric matrix of two rows.
        a, b = curvature.sum(axis=1) + _TINY, (curvature * x).sum(axis=1)
        c = (curvature * x * x).sum(axis=1) + _RIDGE
        first, second = rest.sum(axis=1) - _TINY * constant, (rest * x).sum(axis=1) - _RIDGE * slope
        determinant = a * c - b * b
        steps = np.array([c * first - b * second, a * second - b * first]) / determinant
        steps = np.clip(steps, -_LONGEST_STEP, _LONGEST_STEP)
        constant, slope = constant + steps[0], slope + steps[1]
        if np.abs(steps).max() < 1e-7:
            break
    # Where all preferences of a draw are 0 or 1, the constant has no end.
    same = weights @ y
    return np.where((same <= 0) | (same >= count[:, 0]), same / count[:, 0], sigmoid(constant))


@dataclass(frozen=True, slots=True)
class Strengths:
    """Strengths of systems in the model of Bradley and Terry (1952).

    Args:
        systems: names.
        strengths: log-odds against a system of mean strength: A wins against B with probability
            ``sigmoid(strength A - strength B)``.
    """

    systems: tuple[str, ...]
    strengths: tuple[Estimate, ...]


def bradley_terry(
    pairs: Sequence[tuple[str, str]],
    values: npt.ArrayLike,
    questions: Sequence[Hashable],
    prior: float = 0.5,
    seed: int = 0,
) -> Strengths:
    """Fit strengths to comparisons of many systems; a tie is half a win for each.

    Args:
        pairs: the systems of each comparison.
        values: 1 if the first one wins, 0 if the second does, 0.5 for a tie.
        questions: the question of each comparison.
        prior: wins added to both sides of every pair of systems that were compared. It keeps the strength of a system
            finite that wins or loses everywhere.
        seed: seed of the intervals.

    Raises:
        CorpusError: no chain of comparisons connects all systems.
    """
    names = tuple(dict.fromkeys(name for pair in pairs for name in pair))
    size = len(names)
    first, second = (np.array([names.index(pair[side]) for pair in pairs], dtype=np.int64) for side in (0, 1))
    won = np.asarray(values, dtype=np.float64)
    compared = np.zeros((size, size))
    compared[first, second] = compared[second, first] = 1.0
    _check_connected(compared, names)
    # The wins of each comparison, (rows, pairs of systems): of the first system, and of the second.
    table = np.zeros((len(pairs), size * size))
    table[np.arange(len(pairs)), first * size + second] = won
    table[np.arange(len(pairs)), second * size + first] = 1 - won
    wins = (draw_weights(questions, seed) @ table).reshape(-1, size, size) + prior * compared
    strengths = _strengths(wins)
    return Strengths(names, tuple(estimate(strengths[:, row], len(pairs)) for row in range(size)))


def _check_connected(compared: Floats, names: Sequence[str]) -> None:
    reached, pending = {0}, [0]
    while pending:
        row = pending.pop()
        new = {int(other) for other in np.flatnonzero(compared[row])} - reached
        reached |= new
        pending += new
    if len(reached) < len(names):
        apart = next(name for row, name in enumerate(names) if row not in reached)
        raise CorpusError(
            f"{apart} is not compared with {names[0]}, not even through other systems: judge more pairs of systems, or "
            "name one --baseline"
        )


def _strengths(wins: Floats) -> Floats:
    """Maximum likelihood by Newton's method, with mean 0: (draws, systems) from (draws, systems, systems)."""
    games = wins + wins.transpose(0, 2, 1)
    size = wins.shape[1]
    theta = np.zeros(wins.shape[:2])
    for _ in range(_STEPS):
        p = sigmoid(theta[:, :, None] - theta[:, None, :])
        gradient = (wins - games * p).sum(axis=2)
        curvature = games * p * (1 - p)
        # Strengths are known up to a constant: the matrix of ones fixes their sum.
        hessian = np.eye(size) * (curvature.sum(axis=2) + _TINY)[:, :, None] - curvature + 1.0
        step = np.clip(np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0], -_LONGEST_STEP, _LONGEST_STEP)
        theta += step
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(theta - theta.mean(axis=1, keepdims=True), dtype=np.float64)


def kappa(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Cohen's kappa: agreement of two raters beyond chance (Cohen 1960).

    Returns:
        At most 1; 0 is chance. NaN without rows, or if both always say the same one thing.
    """
    return float(_kappa(np.ones((1, len(one))), one, other)[0])


def agreement(
    one: Sequence[Hashable], other: Sequence[Hashable], questions: Sequence[Hashable], seed: int = 0
) -> Estimate:
    """Cohen's kappa with its interval."""
    return estimate(_kappa(draw_weights(questions, seed), one, other), len(one))


def _kappa(weights: Floats, one: Sequence[Hashable], other: Sequence[Hashable]) -> Floats:
    labels = list(dict.fromkeys([*one, *other]))
    left, right = (np.array([[given == label for label in labels] for given in rows]) for rows in (one, other))
    if not len(left):
        return np.full(len(weights), _NAN)
    count = weights.sum(axis=1)
    observed = weights @ (left & right).any(axis=1) / count
    expected = ((weights @ left) * (weights @ right)).sum(axis=1) / count**2
    return _ratio(observed - expected, np.where(expected < 1 - _TINY, 1 - expected, 0.0))
