"""Instructions that the embedded encoder embeds in a second, on one core of an idle machine.

    python benchmarks/embed.py

The instructions ask for the titles of the experiments' pool. Figures are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

from x_instruction.engines.local.embedder import Embedder
from x_instruction.experiments.claims import pool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    texts = sorted({f"How do you describe this: {document.title}?" for document in pool.read(pool.SHIPPED)})
    encoder = Embedder("embedded")
    rates = []
    for _ in range(given.repeats):
        started = time.perf_counter()
        encoder.encode(texts)
        rates.append(len(texts) / (time.perf_counter() - started))
    words = statistics.mean(len(text.split()) for text in texts)
    print(f"{len(texts):,} instructions of {words:.1f} words: {statistics.median(rates):.0f} rows/s")


if __name__ == "__main__":
    main()
