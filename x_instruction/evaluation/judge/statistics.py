"""Statistics of judgements, each with a 95 % bootstrap interval over questions.

Questions are drawn, not judgements: the answers to one question, in several languages or of several systems, are not
independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from x_instruction.bootstrap import intervals
from x_instruction.errors import CorpusError
from x_instruction.refine.logistic import sigmoid

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

DRAWS = 1_000
# Random signs of a test; its p-value is a multiple of 1 / 10,000.
_FLIPS = 9_999
# Of the squared slope of the length, so that it stays finite where length separates wins from losses. The constant, on
# which the win rate depends, has none.
_RIDGE = 1e-3
_STEPS = 100
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

    def excludes(self, value: float) -> bool:
        """Whether a value is outside the interval."""
        return self.low > value or self.high < value

    def text(self, spec: str = ".2f") -> str:
        """The figure and its interval, such as ``0.52 (0.41 to 0.63)``."""
        if np.isnan(self.value):
            return "-"
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def estimates(
    function: Callable[[Rows], Sequence[float]], questions: Sequence[Hashable], seed: int = 0, draws: int = DRAWS
) -> list[Estimate]:
    """Figures of rows, with intervals over the questions of the rows.

    Args:
        function: takes the numbers of rows, some of them several times, and returns figures.
        questions: the question of each row.
        seed: seed of the draws.
        draws: number of draws.
    """
    members: dict[Hashable, list[int]] = {}
    for row, question in enumerate(questions):
        members.setdefault(question, []).append(row)
    groups = [np.array(rows, dtype=np.int64) for rows in members.values()]
    values = list(function(np.arange(len(questions))))

    def drawn(chosen: Rows) -> Sequence[float]:
        return function(np.concatenate([groups[number] for number in chosen]))

    ends = intervals(drawn, [np.arange(len(groups))], draws, seed) if groups else [(_NAN, _NAN)] * len(values)
    return [
        Estimate(float(value), *((_NAN, _NAN) if np.isnan(value) else end), len(questions))
        for value, end in zip(values, ends, strict=True)
    ]


def mean_estimate(values: npt.ArrayLike, questions: Sequence[Hashable], seed: int = 0) -> Estimate:
    """The mean of values with its interval."""
    rows = np.asarray(values, dtype=np.float64)
    return estimates(lambda chosen: [mean(rows[chosen])], questions, seed)[0]


def mean(values: Floats) -> float:
    """The mean of the values that are numbers; NaN if there are none."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else _NAN


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
    names = {question: row for row, question in enumerate(dict.fromkeys(questions))}
    sums = np.bincount([names[question] for question in questions], np.asarray(values, dtype=np.float64))
    if not len(sums) or not np.any(sums):
        return 1.0
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(_FLIPS, len(sums)))
    drawn, found = signs @ sums, float(sums.sum())
    if not one_sided:
        drawn, found = np.abs(drawn), abs(found)
    return float((1 + np.sum(drawn >= found - 1e-9)) / (1 + _FLIPS))


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
    rows = np.asarray(values, dtype=np.float64)

    def figures(chosen: Rows) -> list[float]:
        drawn = rows[chosen]
        if not len(drawn):
            return [_NAN] * 4
        return [float(np.mean(drawn == value)) for value in (1.0, 0.5, 0.0)] + [float(drawn.mean())]

    return SideBySide(*estimates(figures, questions, seed))


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
    y = np.asarray(preferences, dtype=np.float64)
    difference = np.asarray(lengths, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    if not len(y):
        return _NAN
    if np.all(y == y[0]):
        return float(y[0])
    deviation = difference.std(ddof=1) if len(y) > 1 else 0.0
    x = np.column_stack([np.ones(len(y)), np.tanh(difference / deviation) if deviation else np.zeros(len(y))])
    penalty = np.diag([1e-9, _RIDGE])
    beta = np.zeros(2)
    for _ in range(_STEPS):
        p = sigmoid(x @ beta)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + penalty, x.T @ (y - p) - penalty @ beta)
        # A step of Newton's method may overshoot where the probabilities are near 0 or 1.
        beta += np.clip(step, -4, 4)
        if np.abs(step).max() < 1e-9:
            break
    return float(sigmoid(beta[0]))


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
    number = {name: row for row, name in enumerate(names)}
    first = np.array([number[a] for a, _ in pairs], dtype=np.int64)
    second = np.array([number[b] for _, b in pairs], dtype=np.int64)
    won = np.asarray(values, dtype=np.float64)
    size = len(names)
    compared = np.zeros((size, size))
    compared[first, second] = compared[second, first] = 1.0
    _check_connected(compared, names)

    def figures(chosen: Rows) -> Sequence[float]:
        wins = prior * compared
        np.add.at(wins, (first[chosen], second[chosen]), won[chosen])
        np.add.at(wins, (second[chosen], first[chosen]), 1 - won[chosen])
        return [float(value) for value in _strengths(wins)]

    return Strengths(names, tuple(estimates(figures, questions, seed)))


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
    """Maximum likelihood by Newton's method, with mean 0."""
    games = wins + wins.T
    theta = np.zeros(len(wins))
    for _ in range(_STEPS):
        p = sigmoid(theta[:, None] - theta[None, :])
        gradient = wins.sum(axis=1) - (games * p).sum(axis=1)
        weights = games * p * (1 - p)
        # Strengths are known up to a constant: the matrix of ones fixes their sum.
        hessian = np.diag(weights.sum(axis=1)) - weights + np.ones_like(wins)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        theta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(theta - theta.mean(), dtype=np.float64)


def kappa(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Cohen's kappa: agreement of two raters beyond chance (Cohen 1960).

    Returns:
        At most 1; 0 is chance. NaN without rows, or if both always say the same one thing.
    """
    rows = list(zip(one, other, strict=True))
    if not rows:
        return _NAN
    observed = sum(a == b for a, b in rows) / len(rows)
    expected = (
        sum(sum(a == label for a, _ in rows) * sum(b == label for _, b in rows) for label in {a for a, _ in rows})
        / len(rows) ** 2
    )
    return (observed - expected) / (1 - expected) if expected < 1 else _NAN


def agreement(
    one: Sequence[Hashable], other: Sequence[Hashable], questions: Sequence[Hashable], seed: int = 0
) -> Estimate:
    """Cohen's kappa with its interval."""
    return estimates(
        lambda chosen: [kappa([one[row] for row in chosen], [other[row] for row in chosen])], questions, seed
    )[0]
