"""Read 100,000 answers of servers that are wrong somewhere; none may raise an exception.

Most have one or two parts replaced by anything that JSON can hold: of each kind of answer of OpenAI-compatible servers,
batch files and Text Generation Inference. A twentieth come over HTTP with wrong bytes: status line, headers, chunks,
compression or body.

python benchmarks/fuzz.py [--answers 100000] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import hostile_answers
import hostile_wire
from hypothesis import HealthCheck, given, seed, settings


def main() -> None:
    """Read the answers and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds: Counter[str] = Counter()
    started = time.perf_counter()
    over_http = options.answers // 20
    for result in hostile_wire.results(over_http, options.seed):
        hostile_answers.check(result)
        kinds[f"{type(result).__name__} over HTTP"] += 1
    each = -(-(options.answers - over_http) // len(hostile_answers.SOURCES))
    for source in hostile_answers.SOURCES:
        _read(source, each, options.seed, kinds)
    json.dump({"answers": kinds.total(), **kinds, "seconds": round(time.perf_counter() - started)}, sys.stdout)
    sys.stdout.write("\n")


def _read(source: hostile_answers.Source, answers: int, first: int, kinds: Counter[str]) -> None:
    """Read changed answers of one kind and count the results.

    Args:
        source: the kind.
        answers: how many.
        first: the seed.
        kinds: type of result to number.
    """

    @seed(first)
    @settings(max_examples=answers, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(answer=hostile_answers.hostile(source.answer))
    def read(answer: Any) -> None:
        result = source.read(answer)
        hostile_answers.check(result)
        kinds[type(result).__name__] += 1

    read()


if __name__ == "__main__":
    main()
