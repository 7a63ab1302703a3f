"""How many requests a server is given at once: additive increase, multiplicative decrease.

Two signs say that there are too many. A server may say so (429, 503) or stop answering in time: in each round of
requests the number falls by half the share that was refused, so a storm of refusals halves it and a stray one does not
(the rule of DCTCP, RFC 8257). Or it says nothing and queues, as vLLM does, which never answers 429: then the same
throughput comes at a longer wait than it had before, and the number falls by two fifths. Until the first of these signs
it doubles as long as throughput follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# The number of requests to begin with.
_START = 16
# Requests in one round at least: fewer tell nothing.
_ROUND = 16
# What a round without trouble adds.
_STEP = 4
# A larger share of refusals in a round ends the doubling at the start, and any growth.
_STRAY = 0.2
# The best throughput, and the wait that it had, are forgotten by this much in each round: servers change.
_FORGET = 0.99
# What a new round counts against those before.
_SMOOTH = 0.3


class ConcurrencyLimiter:
    """The number of requests that may be under way.

    Args:
        ceiling: never more than this.
        clock: seconds, for tests.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.ceiling = ceiling
        self.clock = clock
        self._limit = float(min(_START, ceiling))
        self._doubling = True
        self._rate = self._wait = self._best_rate = 0.0
        self._best_wait = float("inf")
        self._open()

    @property
    def limit(self) -> int:
        """Requests that may be under way now, 1 at least."""
        return max(1, int(self._limit))

    def succeeded(self, started: float) -> None:
        """An answer came to a request sent at ``started``."""
        self._throughput += 1
        if started >= self._start:
            self._answered += 1
            self._waits += self.clock() - started
            self._judge()

    def overloaded(self, started: float) -> None:
        """The server refused a request sent at ``started``, or did not answer it in time."""
        if started >= self._start:
            self._refused += 1
            self._judge()

    def _open(self) -> None:
        """A round begins; what was sent before it was sent under another limit and tells nothing of this one."""
        self._start = self.clock()
        self._answered = self._refused = self._throughput = 0
        self._waits = 0.0

    def _judge(self) -> None:
        number = self._answered + self._refused
        # When all are refused, half a round is enough to know.
        if number < max(_ROUND, self.limit) and self._refused < max(_ROUND, self.limit) / 2:
            return
        share = self._refused / number
        queueing, grown = self._measure() if self._answered else (False, False)
        if share:
            self._limit *= 1 - share / 2
        if queueing:
            # Below the point at which the best wait was had, so that it is measured again and does not creep up.
            self._limit *= 0.6
        self._doubling = self._doubling and grown and not queueing and share < _STRAY
        if share < _STRAY and not queueing:
            self._limit += self._limit if self._doubling else _STEP
        self._limit = min(float(self.ceiling), max(1.0, self._limit))
        self._open()

    def _measure(self) -> tuple[bool, bool]:
        """Whether requests wait without throughput growing, and whether it has grown by a fifth."""
        rate = self._throughput / max(1e-9, self.clock() - self._start)
        wait = self._waits / self._answered
        # Answers come in clumps, so one round's throughput is noise: a growing one is believed at once, for the sake
        # of the start, and any other is smoothed.
        new = 1.0 if self._doubling or not self._rate else _SMOOTH
        self._rate += new * (rate - self._rate)
        self._wait += new * (wait - self._wait)
        self._best_rate *= _FORGET
        self._best_wait /= _FORGET
        grown = self._rate > 1.2 * self._best_rate
        queueing = self._rate < 1.1 * self._best_rate and self._wait > 1.5 * self._best_wait
        if self._rate > 1.1 * self._best_rate:
            self._best_wait = self._wait
        elif self._rate > 0.9 * self._best_rate:
            self._best_wait = min(self._best_wait, self._wait)
        self._best_rate = max(self._best_rate, self._rate)
        return queueing, grown
