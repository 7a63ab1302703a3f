"""Caps: the maximum number of selected rows per group (a source domain or a verb).

A cap is a share of the quota, so a recipe means the same for 8 rows and for 32,000. It is not a share of the selected
rows: a language with three domains and a cap of 5 % would be left with three rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Cap:
    """A maximum number of rows per group.

    Args:
        reason: drop reason of rows that exceed the cap.
        groups: group of each row; None for a row without a group, which the cap does not limit.
        most: maximum number of rows per group, 1 or more.
    """

    reason: str
    groups: Sequence[str | None]
    most: int


class Tally:
    """Tracks which rows can still be selected.

    Args:
        rows: number of rows.
        caps: caps that apply together.
    """

    def __init__(self, rows: int, caps: Iterable[Cap] = ()) -> None:
        self.open: npt.NDArray[np.bool_] = np.ones(rows, dtype=bool)
        self._taken: list[tuple[Cap, Counter[str], dict[str, list[int]]]] = []
        for cap in caps:
            members: dict[str, list[int]] = defaultdict(list)
            for row, group in enumerate(cap.groups):
                if group is not None:
                    members[group].append(row)
            self._taken.append((cap, Counter(), members))

    def take(self, row: int) -> None:
        """Select a row. It is no longer open, nor are the rows of a group that is now full."""
        self.open[row] = False
        for cap, taken, members in self._taken:
            group = cap.groups[row]
            if group is not None:
                taken[group] += 1
                if taken[group] >= cap.most:
                    self.open[members[group]] = False

    def full(self, row: int) -> tuple[str, str] | None:
        """Reason and detail of the first cap that excludes a row, or None if no group of the row is full."""
        for cap, taken, _ in self._taken:
            group = cap.groups[row]
            if group is not None and taken[group] >= cap.most:
                return cap.reason, f"{group} has its {cap.most}"
        return None


def first(order: Iterable[int], quota: int, caps: Sequence[Cap], rows: int) -> list[int]:
    """The first ``quota`` rows of ``order`` that the caps allow."""
    tally = Tally(rows, caps)
    taken: list[int] = []
    for row in order:
        if len(taken) >= quota:
            break
        if tally.open[row]:
            tally.take(row)
            taken.append(row)
    return taken


def most(share: float, quota: int) -> int:
    """Number of rows for a share of the quota, rounded down, at least 1. A fraction makes 0.29 of 100 exactly 29."""
    return max(1, int(Fraction(repr(share)) * quota))


def domain(url: str) -> str | None:
    """The host of a URL in lower case, without a leading ``www.``; None if the URL has no host."""
    try:
        host = urlsplit(url).hostname
    except ValueError:  # not a URL, such as "http://["
        return None
    return (host or "").removeprefix("www.").rstrip(".") or None
