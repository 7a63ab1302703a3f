"""Concurrency control finds the capacity of simulated servers that queue, refuse, slow down and recover."""

from __future__ import annotations

import heapq
import random

import pytest

from x_instruction.engines.remote.concurrency import ConcurrencyLimiter


class Simulation:
    """A server that works on ``capacity`` requests at once (0: all), and answers 429 above ``refuses`` in flight.

    With ``bursts`` all requests take the same time, so answers come together.
    """

    def __init__(
        self,
        capacity: int = 0,
        refuses: int = 0,
        stray: float = 0.0,
        ceiling: int = 256,
        bursts: bool = False,
        seed: int = 0,
    ) -> None:
        self.capacity, self.refuses, self.stray = capacity, refuses, stray
        self.spread = 0.0 if bursts else 0.5
        self.now = 0.0
        self.limiter = ConcurrencyLimiter(ceiling, clock=lambda: self.now)
        self.random = random.Random(seed)
        self.limits: list[int] = []
        self.waiting: list[float] = []
        self.working: list[tuple[float, float, bool]] = []

    def run(self, requests: int) -> float:
        """Answers per second."""
        answered, began = 0, self.now
        while answered < requests:
            while len(self.waiting) + len(self.working) < self.limiter.limit:
                self._send()
            while self.waiting and (not self.capacity or len(self.working) < self.capacity):
                seconds = 0.05 * self.random.uniform(1 - self.spread, 1 + self.spread)
                heapq.heappush(self.working, (self.now + seconds, self.waiting.pop(0), True))
            self.now, started, good = heapq.heappop(self.working)
            answered += good
            (self.limiter.succeeded if good else self.limiter.overloaded)(started)
            self.limits.append(self.limiter.limit)
        return requests / (self.now - began)

    def _send(self) -> None:
        full = self.refuses and len(self.waiting) + len(self.working) >= self.refuses
        if full or self.random.random() < self.stray:
            heapq.heappush(self.working, (self.now + 0.005, self.now, False))
        else:
            self.waiting.append(self.now)

    def settled(self) -> float:
        """Mean limit of the second half."""
        half = self.limits[len(self.limits) // 2 :]
        return sum(half) / len(half)


def test_a_fast_server_reaches_the_ceiling() -> None:
    server = Simulation(ceiling=200)
    server.run(4_000)
    assert server.limits[-1] == 200
    assert max(server.limits) <= 200


@pytest.mark.parametrize("bursts", [False, True], ids=["spread", "bursts"])
@pytest.mark.parametrize(("ceiling", "share"), [(64, 0.99), (256, 0.95), (1_024, 0.83)])
def test_a_fast_server_gets_all_requests_at_once(ceiling: int, share: float, bursts: bool) -> None:
    server = Simulation(ceiling=ceiling, bursts=bursts)
    # Of what is possible, with the growth of the limit at the start.
    assert server.run(12_000) > share * ceiling / 0.05
    assert server.limits[3 * ceiling] == ceiling


@pytest.mark.parametrize("capacity", [8, 32])
def test_queueing_is_detected_without_refusals(capacity: int) -> None:
    server = Simulation(capacity, ceiling=1_000)
    rate = server.run(6_000)
    assert rate > 0.95 * capacity / 0.05
    assert capacity < server.settled() < 16 * capacity


def test_refusals_keep_the_limit_near_the_capacity() -> None:
    server = Simulation(refuses=40, ceiling=1_000)
    server.run(6_000)
    assert 20 < server.settled() < 80


def test_a_rare_refusal_costs_little() -> None:
    server = Simulation(stray=0.05)
    server.run(4_000)
    assert server.settled() > 60


def test_a_server_that_refuses_everything_gets_one_request_at_a_time_and_recovers() -> None:
    server = Simulation(refuses=1)
    server.run(200)
    assert server.limits[-1] <= 8
    server.refuses = 0
    server.run(12_000)
    assert server.limits[-1] > 128


def test_old_requests_do_not_count_against_a_new_limit() -> None:
    now = 0.0
    throttle = ConcurrencyLimiter(64, clock=lambda: now)
    now = 1.0
    before = throttle.limit
    for _ in range(32):
        throttle.overloaded(1.0)
    lowered = throttle.limit
    for _ in range(100):
        throttle.overloaded(0.5)
    assert throttle.limit == lowered < before


def test_the_limit_stays_between_one_and_the_ceiling() -> None:
    throttle = ConcurrencyLimiter(3)
    assert throttle.limit == 3
    for _ in range(200):
        throttle.overloaded(throttle.clock())
    assert throttle.limit == 1
