"""Rows to align a model's states on, of parallel documents (JSONL with ``id``, ``lang``, ``text_en`` and ``text``).

The first lines of both sides are a sentence and its translation. A row asks to continue the English one and answers
with the other side's next line, so that the loss on outputs has something to learn beside the alignment.

    python benchmarks/aligned_rows.py pages/*/stories.jsonl --out rows.jsonl
    x-instruction train sft afp rows.jsonl --out models/afp --set 'model.name="embedded"' --set train.steps=60
    x-instruction eval representations embedded PARALLEL/*.jsonl --adapter models/afp
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path


def rows(path: Path) -> Iterator[dict[str, str]]:
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        english, other = row["text_en"].splitlines(), row["text"].splitlines()
        if len(english) < 2 or len(other) < 2:
            continue
        yield {
            "id": row["id"],
            "instruction": f"Continue the story: {english[0]}",
            "output": other[1],
            "language": row["lang"],
            "sentence": english[0],
            "parallel": other[0],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    made = [row for path in given.documents for row in rows(path)]
    given.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), "utf-8")
    print(f"{given.out}: {len(made):,} rows")


if __name__ == "__main__":
    main()
