"""How far several raters agree, and how good each one is on rows of known quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import eq

from x_instruction.bootstrap import Interval, interval
from x_instruction.evaluation.judge.statistics import kappa, wilson

RESAMPLES = 2_000
# A rater who is right on this share of rows is a good one.
GOOD_SHARE = 0.85


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
        chance: probability that a rater who guesses is right on as many rows or more.
    """

    rows: int
    share: float
    interval: Interval
    chance: float

    @property
    def is_chance(self) -> bool:
        """True if the rows tell the rater from a good one, and not from one who guesses.

        A good rater errs too: 8 of 10 right rows are no reason to leave a rater out.
        """
        return self.rows > 0 and self.chance > 0.05 and self.interval[1] < GOOD_SHARE


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
    rows, number = len(right), sum(right)
    share = number / rows if rows else float("nan")
    chance = sum(math.comb(rows, k) for k in range(number, rows + 1)) / 2**rows
    return Accuracy(rows, share, wilson(share, rows), chance)
