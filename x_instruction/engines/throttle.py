"""How many requests a server is given at once: additive increase, multiplicative decrease.

Two signs say that there are too many. A server may say so (429, 503) or stop answering in time: the number is halved,
once for each round of requests, since those sent together fail together. Or it says nothing and queues, as vLLM does,
which never answers 429: then the same throughput comes at a longer wait than it had before, and the number falls by a
fifth. Until the first of these signs it doubles as long as throughput follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# The number of requests to begin with.
_START = 16
# Requests in one measurement at least.
_WINDOW = 16
# The best throughput and the wait that it had are forgotten by this much in each window: servers change.
_FORGET = 0.99


class Throttle:
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
        self._decreased = clock()
        self._best_rate = 0.0
        self._best_wait = float("inf")
        self._open_window()

    @property
    def limit(self) -> int:
        """Requests that may be under way now, 1 at least."""
        return max(1, int(self._limit))

    def succeeded(self, started: float) -> None:
        """An answer came to a request sent at ``started``."""
        if started < self._window_start:
            return
        self._count += 1
        self._waits += self.clock() - started
        if self._count >= max(_WINDOW, self.limit):
            self._close_window()

    def overloaded(self, started: float) -> None:
        """The server refused a request sent at ``started``, or did not answer it in time."""
        if started < self._decreased:
            return
        self._limit = max(1.0, self._limit / 2)
        self._after_decrease()

    def _open_window(self) -> None:
        self._window_start = self.clock()
        self._count = 0
        self._waits = 0.0

    def _close_window(self) -> None:
        elapsed = max(1e-9, self.clock() - self._window_start)
        rate, wait = self._count / elapsed, self._waits / self._count
        self._best_rate *= _FORGET
        self._best_wait /= _FORGET
        queueing = rate < 1.1 * self._best_rate and wait > 1.5 * self._best_wait
        if rate > 1.05 * self._best_rate:
            self._best_wait = wait
        elif rate > 0.95 * self._best_rate:
            self._best_wait = min(self._best_wait, wait)
        grown = rate > 1.2 * self._best_rate
        self._best_rate = max(self._best_rate, rate)
        if queueing:
            self._limit = max(1.0, self._limit * 0.8)
            self._after_decrease()
            return
        self._doubling = self._doubling and grown
        self._limit = min(float(self.ceiling), self._limit * 2 if self._doubling else self._limit + 1)
        self._open_window()

    def _after_decrease(self) -> None:
        self._doubling = False
        self._decreased = self.clock()
        self._open_window()
