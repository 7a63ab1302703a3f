"""What a worker has done of a task so far, for progress displays."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from x_instruction.records import Dropped, Embedded, Passage

AnyRecord = TypeVar("AnyRecord", bound=Passage | Embedded | Dropped)
# Seconds between two reports of a worker.
_INTERVAL = 0.2


@dataclass(slots=True)
class Activity:
    """The work on a task so far.

    Args:
        done: requests, documents or rows that are done.
        total: their number as far as it is known; 0 if it is not.
        tokens: read and written by models, in this attempt.
        kept: rows that the stage kept.
        dropped: rows that it dropped, by reason.
    """

    done: int = 0
    total: int = 0
    tokens: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


OnActivity = Callable[[Activity], None]


class Meter:
    """Counts the work on one task, and reports it a few times per second.

    Args:
        report: called with a copy of the work so far.
    """

    def __init__(self, report: OnActivity) -> None:
        self.activity = Activity()
        self._report = report
        self._reported = 0.0

    def progress(self, done: int, total: int, tokens: int | None = None) -> None:
        """Set what is done and known.

        Args:
            done, total: see ``Activity``.
            tokens: of all complete batches; None leaves the number as it is.
        """
        self.activity.done, self.activity.total = done, total
        if tokens is not None:
            self.activity.tokens = tokens
        self._tick(done == total)

    def generating(self, tokens: int) -> None:
        """Add tokens of a batch that is not complete. The next complete batch has their exact number."""
        self.activity.tokens += tokens
        self._tick()

    def counted(self, records: Iterable[AnyRecord]) -> Iterator[AnyRecord]:
        """The records, counted as they pass."""
        for record in records:
            if isinstance(record, Dropped):
                self.activity.dropped[record.reason] += 1
            else:
                self.activity.kept += 1
            self._tick()
            yield record

    def _tick(self, now: bool = False) -> None:
        if now or time.monotonic() - self._reported > _INTERVAL:
            self._reported = time.monotonic()
            # A display reads it in another thread, or another process.
            self._report(replace(self.activity, dropped=Counter(self.activity.dropped)))
