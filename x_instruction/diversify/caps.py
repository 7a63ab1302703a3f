"""Caps: how many rows one group, a source domain or a verb, may give to a draw.

A cap is a share of the quota: one recipe then means the same for a trial of 8 rows and for 32,000. It is not a share of
what is drawn: a language with three domains and a cap of 5 % would be left with three rows.
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
    """At most so many rows of each group.

    Args:
        reason: what a row is dropped as that this cap keeps out.
        groups: the group of each row; None for a row that is in none, which no cap keeps out.
        most: rows of one group at most, 1 or more.
    """

    reason: str
    groups: Sequence[str | None]
    most: int


class Tally:
    """The rows that may still be taken, while a draw goes on.

    Args:
        rows: number of rows that there are.
        caps: all of them hold.
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
        """Take a row: it is open no more, nor is any row of a group that it fills."""
        self.open[row] = False
        for cap, taken, members in self._taken:
            group = cap.groups[row]
            if group is not None:
                taken[group] += 1
                if taken[group] >= cap.most:
                    self.open[members[group]] = False

    def full(self, row: int) -> tuple[str, str] | None:
        """Reason and detail of the first cap that keeps a row out, or None where its groups have room."""
        for cap, taken, _ in self._taken:
            group = cap.groups[row]
            if group is not None and taken[group] >= cap.most:
                return cap.reason, f"{group} has its {cap.most}"
        return None


def first(order: Iterable[int], quota: int, caps: Sequence[Cap], rows: int) -> list[int]:
    """The first ``quota`` rows of an order that the caps let through."""
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
    """Rows that a share of the quota stands for: rounded down, at least one, and 0.29 of 100 is 29."""
    return max(1, int(Fraction(repr(share)) * quota))


def domain(url: str) -> str | None:
    """The host of a URL in lower case without a leading ``www.``; None where the URL names none."""
    try:
        host = urlsplit(url).hostname
    except ValueError:  # as "http://[": what is no URL has no host
        return None
    return (host or "").removeprefix("www.").rstrip(".") or None
