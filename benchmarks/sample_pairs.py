"""Pairs of the sample corpus, in ten languages, to compare raters and models on: nothing of it was tuned on.

    python benchmarks/sample_pairs.py --labels pairs.jsonl --held-out held-out.jsonl
    x-instruction eval raters adapters pairs.jsonl --adapter embedded-rater --rater trained --rater pmi
    x-instruction eval held-out embedded held-out.jsonl

``--labels``: each of the twelve pages of a language with its own topic (best) and with that of the next page (worst).
``--held-out``: each page as the response to its topic.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from x_instruction.languages import PAPER_LANGUAGES


def pages() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    folder = resources.files("x_instruction.corpus.sample")
    for tag in PAPER_LANGUAGES:
        yield tag, [json.loads(line) for line in folder.joinpath(f"{tag}.jsonl").read_text("utf-8").splitlines()]


def labels() -> Iterator[dict[str, str]]:
    for tag, rows in pages():
        for number, row in enumerate(rows):
            for level, other in (("best", row), ("worst", rows[(number + 1) % len(rows)])):
                yield {
                    "id": f"{row['id']}/{level}",
                    "document": row["id"],
                    "language": tag,
                    "instruction_language": "en",
                    "instruction": f"Explain: {other['topic'].capitalize()}.",
                    "text": row["text"],
                    "level": level,
                    "strategy": "pair" if level == "best" else "random-negative",
                }


def held_out() -> Iterator[dict[str, str]]:
    for tag, rows in pages():
        for row in rows:
            yield {
                "id": row["id"],
                "instruction": f"Explain: {row['topic']}.",
                "output": row["text"],
                "language": tag,
            }


def write(rows: Iterable[dict[str, str]], out: Path) -> None:
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--held-out", type=Path)
    given = parser.parse_args()
    if given.labels:
        write(labels(), given.labels)
    if given.held_out:
        write(held_out(), given.held_out)


if __name__ == "__main__":
    main()
