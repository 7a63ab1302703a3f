"""Limit the number of concurrent requests to a server: additive increase, multiplicative decrease.

There are two signs of overload. A server may reject requests (429, 503) or time out: in each round of requests the
limit is reduced by half the share of these, so a burst of rejections halves it and a single one hardly changes it (the
rule of DCTCP, RFC 8257). Or the server queues requests, such as vLLM, which never answers 429: then latency grows at
the same throughput, and the limit is reduced by 40 %. Until the first sign of overload the limit doubles as long as
throughput grows with it, and is multiplied by four where throughput has nearly doubled.

Throughput is the number of requests in flight over their latency (Little's law). Answers come in bursts, because many
requests are sent at once, so to count them in a time of about their latency says little.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Initial limit: this, or a quarter of a ceiling that is set so high.
_START = 64
# Minimum number of requests per round; fewer give no reliable measurement.
_ROUND = 16
# Growth of the limit after a round without overload: a sixteenth, and at least this much.
_STEP = 4
# With a larger share of rejections in a round, the limit does not grow, and the growth of the start ends.
_TOLERATED = 0.2
# Decay per round of the best throughput and its latency, since a server's speed changes.
_DECAY = 0.99
# Weight of a new round in the moving averages.
_SMOOTHING = 0.3


class ConcurrencyLimiter:
    """The number of requests that may be in flight.

    Args:
        ceiling: upper bound of the limit.
        clock: returns seconds; tests replace it.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.ceiling = ceiling
        self.clock = clock
        self._limit = float(min(ceiling, max(_START, ceiling // 4)))
        self._starting = True
        self._rate = self._wait = self._best_rate = 0.0
        self._best_wait = float("inf")
        self._open()

    @property
    def limit(self) -> int:
        """The current limit, at least 1."""
        return max(1, int(self._limit))

    def succeeded(self, started: float) -> None:
        """Count an answer to a request sent at ``started``."""
        if started >= self._start:
            self._answered += 1
            self._waits += self.clock() - started
            self._end_of_round()

    def overloaded(self, started: float) -> None:
        """Count a request sent at ``started`` that the server rejected or did not answer in time."""
        if started >= self._start:
            self._rejected += 1
            self._end_of_round()

    def _open(self) -> None:
        """Begin a round. Requests sent before it were sent under another limit and do not count."""
        self._start = self.clock()
        self._answered = self._rejected = 0
        self._waits = 0.0

    def _end_of_round(self) -> None:
        """Adjust the limit if the round has enough requests."""
        number = self._answered + self._rejected
        # If all are rejected, half a round is enough to know.
        if number < max(_ROUND, self.limit) and self._rejected < max(_ROUND, self.limit) / 2:
            return
        share = self._rejected / number
        queueing, growth = self._measure() if self._answered else (False, 0.0)
        if share:
            self._limit *= 1 - share / 2
        if queueing:
            # Below the point of the best latency, so that it is measured again and does not creep up.
            self._limit *= 0.6
        self._starting = self._starting and growth > 1.2 and not queueing and share < _TOLERATED
        if share < _TOLERATED and not queueing:
            step = max(_STEP, self._limit / 16)
            self._limit += self._limit * (3 if growth > 1.7 else 1) if self._starting else step
        self._limit = min(float(self.ceiling), max(1.0, self._limit))
        self._open()

    def _measure(self) -> tuple[bool, float]:
        """Whether latency grows without throughput, and throughput over the best one so far."""
        wait = max(1e-9, self._waits / self._answered)
        rate = self.limit / wait
        # The latency of one round is noisy: it is smoothed, except at the start, where a fast reaction matters more.
        new = 1.0 if self._starting or not self._rate else _SMOOTHING
        self._rate += new * (rate - self._rate)
        self._wait += new * (wait - self._wait)
        self._best_rate *= _DECAY
        self._best_wait /= _DECAY
        # Nothing is known after the first round.
        growth = self._rate / self._best_rate if self._best_rate else 1.5
        queueing = self._rate < 1.1 * self._best_rate and self._wait > 1.5 * self._best_wait
        if self._rate > 1.1 * self._best_rate:
            self._best_wait = self._wait
        elif self._rate > 0.9 * self._best_rate:
            self._best_wait = min(self._best_wait, self._wait)
        self._best_rate = max(self._best_rate, self._rate)
        return queueing, growth
