"""Seconds and peak memory of the selectors, each in a process of its own.

    python benchmarks/diversify.py --rows 64000 --quota 32000

Rows are unit vectors around planted centres of unequal sizes, as instructions about topics are, or (``--spread``) all
over the sphere.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import Any

import numpy as np


def planted(rows: int, spread: bool, seed: int = 0) -> Any:
    generator = np.random.default_rng(seed)
    found = generator.standard_normal((rows, 384), dtype=np.float32)
    if not spread:
        centres = np.random.default_rng(99).standard_normal((1_000, 384), dtype=np.float32)
        # Sizes fall as one over rank; a row lies at a cosine of about .7 to its centre, as paraphrases do.
        weights = 1 / np.arange(1, 1_001)
        found += centres[generator.choice(1_000, size=rows, p=weights / weights.sum())]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def measure(name: str, rows: int, quota: int, spread: bool, capped: bool) -> None:
    from x_instruction.diversify import Draw, selector
    from x_instruction.diversify.caps import Cap

    embeddings = planted(rows, spread)
    scores = np.random.default_rng(1).normal(size=rows)
    domains = [f"d{number}" for number in np.random.default_rng(2).zipf(1.5, size=rows)]
    caps = (Cap("domain_cap", domains, quota // 20),) if capped else ()
    choose = selector(name)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    drawn = choose(embeddings, scores, Draw(quota, None, 1, caps=caps))
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    grown = (after.ru_maxrss - before.ru_maxrss) // 1024
    print(f"{name:14} {len(drawn):7} drawn {wall:8.1f} s {cpu:8.1f} s CPU {grown:6} MB above the input", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=64_000)
    parser.add_argument("--quota", type=int, default=32_000)
    parser.add_argument("--spread", action="store_true", help="all over the sphere instead of around centres")
    parser.add_argument("--capped", action="store_true", help="with a cap of 5 %% on domains")
    parser.add_argument(
        "--selectors", nargs="+", default=["random", "top", "kmeans", "sampled-kmeans", "k-center", "mmr"]
    )
    arguments = parser.parse_args()
    for name in arguments.selectors:
        task = (name, arguments.rows, arguments.quota, arguments.spread, arguments.capped)
        process = multiprocessing.get_context("spawn").Process(target=measure, args=task)
        process.start()
        process.join()


if __name__ == "__main__":
    main()
