"""What the limit of concurrent requests costs, on simulated servers.

    python benchmarks/limiter.py

A server without a limit answers within 50 ms, and gets requests for as long as the client's limit allows. Shares are of
what all requests at once would give: for latencies that are equal and for latencies that vary by half, the lower of the
two. A server with room for some requests queues the others. Shares are of its rate, means over seeds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from engines.test_concurrency import Simulation

LATENCY = 0.05
CEILINGS = (64, 256, 1_024)
ROOMS = (8, 32, 128, 600)


def fast(ceiling: int, requests: int, start: float) -> float:
    """The share of what is possible. ``start`` is the share of the ceiling to begin with; 0 for what is built in."""
    shares = []
    for bursts in (False, True):
        server = Simulation(ceiling=ceiling, bursts=bursts)
        if start:
            server.limiter._limit = start * ceiling
        shares.append(server.run(requests) / (ceiling / LATENCY))
    return min(shares)


def queueing(room: int, ceiling: int, requests: int, seed: int) -> float:
    """The share of the rate of a server that works on ``room`` requests at once."""
    server = Simulation(room, ceiling=ceiling, seed=seed)
    return server.run(requests) / (room / LATENCY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    print("no limit, 12,000 requests: the limit starts as built in, at half of the ceiling, at the ceiling")
    for ceiling in CEILINGS:
        print(f"{ceiling:6,} at once: " + " ".join(f"{fast(ceiling, 12_000, start):.3f}" for start in (0, 0.5, 1)))
    print(f"room for fewer than 1,000 requests, {given.seeds} seeds: the first 6,000 requests, 30,000 requests")
    for room in ROOMS:
        means = [
            statistics.mean(queueing(room, 1_000, requests, seed) for seed in range(given.seeds))
            for requests in (6_000, 30_000)
        ]
        print(f"room for {room:3}: " + " ".join(f"{mean:.3f}" for mean in means))


if __name__ == "__main__":
    main()
