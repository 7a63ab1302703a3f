"""How far several raters agree, and how good each one is on rows of known quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import eq

from x_instruction.bootstrap import Interval, interval
from x_instruction.evaluation.judge.statistics import kappa

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of two raters on the rows that both judged.

    Args:
        raters: their names.
        rows: number of these rows.
        share: share on which they give the same answer, 0 to 1.
        kappa: Cohen's kappa.
        kappa_interval: its 95 % bootstrap interval.
    """

    raters: tuple[str, str]
    rows: int
    share: float
    kappa: float
    kappa_interval: Interval


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often a rater is right on rows of known quality.

    Args:
        rows: number of these rows that the rater judged.
        share: share that is right, 0 to 1; NaN without rows.
        interval: its 95 % interval (Wilson 1927).
    """

    rows: int
    share: float
    interval: Interval

    @property
    def is_chance(self) -> bool:
        """True if the rows show that the rater may not be better than chance."""
        return self.rows > 0 and self.interval[0] <= 0.5


def agreements(judged: Mapping[str, Mapping[str, str]], seed: int = 0) -> list[Agreement]:
    """The agreement of every two raters with common rows.

    Args:
        judged: rater to row to answer.
        seed: seed of the bootstrap.
    """
    found = []
    for (first, left), (second, right) in combinations(judged.items(), 2):
        rows = sorted(left.keys() & right.keys())
        if not rows:
            continue
        labels = sorted({*left.values(), *right.values()})
        a, b = ([labels.index(answers[row]) for row in rows] for answers in (left, right))
        found.append(
            Agreement(
                (first, second),
                len(rows),
                sum(map(eq, a, b)) / len(rows),
                kappa(a, b),
                interval(kappa, [a, b], RESAMPLES, seed),
            )
        )
    return found


def accuracy(right: Sequence[bool]) -> Accuracy:
    """The accuracy of a rater, from whether each answer to a row of known quality is right."""
    share = sum(right) / len(right) if right else float("nan")
    return Accuracy(len(right), share, wilson(share, len(right)))


def wilson(share: float, rows: int) -> Interval:
    """The 95 % interval of a share (Wilson 1927), which is sound for few rows and for shares of 0 and 1."""
    if not rows or math.isnan(share):
        return float("nan"), float("nan")
    z = 1.959964
    center = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    return max(0.0, center - half), min(1.0, center + half)
