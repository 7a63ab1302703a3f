"""Seed pairs from parallel documents: instructions that a run wrote for the English, responses in another language.

A small model understands English best, so it writes and rates instructions for the English side of each document; the
best one is then used for the same document in every other language. First a run over the column ``text_en`` of the
documents, with ``languages = ["en"]``, then::

    x-instruction export runs/english --format jsonl --out english
    python examples/instructed_pages.py english/en.jsonl pages/mr/stories.jsonl --out seeds/mr.jsonl

What it writes is an instruction file, as `x-instruction seeds collect` and ``seeds.paths`` of a recipe read them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Unusable(ValueError):
    """A file holds something else."""


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file, each with these columns as text."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found = [row[name] for name in columns]
        except (ValueError, TypeError, KeyError) as error:
            raise Unusable(f"{path}, line {number}: expected JSON with {', '.join(columns)} ({error})") from None
        if not all(isinstance(value, str) for value in found):
            raise Unusable(f"{path}, line {number}: {', '.join(columns)} must be text")
        yield row


def instructions(path: Path) -> dict[str, str]:
    """The instruction of every English document by its id: the best rated one, of its first passage."""
    best: dict[str, tuple[int, float, str]] = {}
    for row in rows(path, ("document_id", "instruction")):
        score = row.get("score")
        place = (-int(row.get("segment") or 0), float(score) if score is not None else 0.0, row["instruction"])
        best[row["document_id"]] = max(best.get(row["document_id"], place), place)
    # The start of a document is what its translation is read by.
    return {id: instruction for id, (segment, _, instruction) in best.items() if segment == 0}


def pairs(written: dict[str, str], documents: Iterable[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Pairs of the documents that have an instruction."""
    for row in documents:
        if row["id"] in written:
            yield {
                "id": row["id"],
                "instruction": written[row["id"]],
                "output": row["text"],
                "language": row["lang"],
                "instruction_language": "en",
                "source": row.get("source") or "",
                "license": row.get("license") or "unknown",
                "url": row.get("url") or "",
            }


def main(arguments: list[str] | None = None) -> None:
    """The command; see above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("english", type=Path, help="exported rows of the run over English, .jsonl")
    parser.add_argument("documents", type=Path, nargs="+", help="parallel documents of one language, .jsonl")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .jsonl")
    given = parser.parse_args(arguments)
    try:
        written = instructions(given.english)
        read = [row for path in given.documents for row in rows(path, ("id", "text", "lang"))]
    except (OSError, Unusable) as error:
        parser.error(str(error))
    made = list(pairs(written, read))
    if not made:
        parser.error(f"{given.english} and the documents have no id in common: run over the same documents' text_en")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), "utf-8")
    sys.stdout.write(f"{given.out}: {len(made):,} pairs of {len(read):,} documents\n")


if __name__ == "__main__":
    main()
