"""Read 100,000 answers of servers with parts replaced by anything that JSON can hold; none may raise an exception.

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
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st


def main() -> None:
    """Read the answers and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds: Counter[str] = Counter()
    started = time.perf_counter()
    sources = [*range(len(hostile_answers.OPENAI)), None]
    for number in sources:
        _read(number, -(-options.answers // len(sources)), options.seed, kinds)
    json.dump({"answers": kinds.total(), **kinds, "seconds": round(time.perf_counter() - started)}, sys.stdout)
    sys.stdout.write("\n")


def _read(number: int | None, answers: int, first: int, kinds: Counter[str]) -> None:
    """Read changed answers of one kind and count the results.

    Args:
        number: of the answer in ``OPENAI``; None for Text Generation Inference.
        answers: how many.
        first: the seed.
        kinds: type of result to number.
    """

    @seed(first)
    @settings(max_examples=answers, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def read(data: Any) -> None:
        if number is None:
            result = hostile_answers.tgi_result(data.draw(hostile_answers.hostile(hostile_answers.TGI)))
        else:
            request, answer = hostile_answers.OPENAI[number]
            result = hostile_answers.openai_result(request, data.draw(hostile_answers.hostile(answer)))
        hostile_answers.check(result)
        kinds[type(result).__name__] += 1

    read()


if __name__ == "__main__":
    main()
