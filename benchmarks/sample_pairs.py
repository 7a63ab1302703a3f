"""Matched and mismatched pairs of the sample corpus, in ten languages, as `x-instruction rater compare` takes them.

Each of the twelve pages of a language stands with its own topic (best) and with that of the next page (worst).

    python benchmarks/sample_pairs.py pairs.jsonl
    x-instruction rater compare adapters pairs.jsonl --adapter ADAPTER --rater trained --rater pmi --rater prompted
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

from x_instruction.languages import PAPER_LANGUAGES


def main(out: str) -> None:
    folder = resources.files("x_instruction.corpus.sample")
    lines = []
    for tag in PAPER_LANGUAGES:
        rows = [json.loads(line) for line in folder.joinpath(f"{tag}.jsonl").read_text("utf-8").splitlines()]
        for number, row in enumerate(rows):
            for level, other in (("best", row), ("worst", rows[(number + 1) % len(rows)])):
                lines.append(
                    {
                        "id": f"{row['id']}/{level}",
                        "document": row["id"],
                        "language": tag,
                        "instruction_language": "en",
                        "instruction": f"Explain: {other['topic'].capitalize()}.",
                        "text": row["text"],
                        "level": level,
                        "builder": "pair" if level == "best" else "other-page",
                    }
                )
    Path(out).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
