"""How many rows of two runs do readers find sensible and on topic?

Rows of both are mixed, so that a reader does not know which run wrote a row. Each reader gets a file in another order:

    python benchmarks/judged_rows.py mix BEFORE NOW --seed 1 --out reader-1
    python benchmarks/judged_rows.py mix BEFORE NOW --seed 2 --out reader-2

``reader-1/rows.jsonl`` has ``i``, ``language``, ``instruction`` and ``passage``. A reader writes the file
``reader-1/marks.jsonl`` with ``i``, ``sensible`` and ``on_topic``, 0 or 1. Then

    python benchmarks/judged_rows.py tally BEFORE NOW reader-1 reader-2

prints for each run the share of rows that both readers find sensible and on topic: of all rows that both marked, and of
those with the highest scores. Intervals (95 %) are of 2,000 bootstrap samples of documents. docs/benchmarks.md has the
rubric. And

    python benchmarks/judged_rows.py compare BEFORE NOW reader-1 reader-2 --pages pages.jsonl

compares the rows of the same pages: the share that both readers find good, and the cosine of the instruction to the
page's English title and summary (all-MiniLM-L6-v2), where ``pages.jsonl`` has them. Its rows have ``id``, which is the
document of a passage, ``document``, ``source``, ``title_en`` and ``summary_en``. Intervals are paired.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from x_instruction.records import Curated
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

# Characters of a passage that a reader sees.
SHOWN = 1_200
REPEATS = 2_000


def curated(folder: Path) -> list[Curated]:
    run = RunFolder(folder)
    return [
        row for report in run.reports(StageKey("curated")) for row in run.read(report.key) if isinstance(row, Curated)
    ]


def mixed(folders: Iterable[Path], seed: int) -> list[tuple[int, Curated]]:
    """Rows of all runs with the number of their run, shuffled."""
    rows = [(number, row) for number, folder in enumerate(folders) for row in curated(folder)]
    Random(seed).shuffle(rows)
    return rows


def mix(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True)
    (given.out / "seed").write_text(str(given.seed), "utf-8")
    with (given.out / "rows.jsonl").open("w", encoding="utf-8") as out:
        for i, (_, row) in enumerate(mixed(given.folders, given.seed)):
            passage = row.text if len(row.text) <= SHOWN else f"{row.text[:SHOWN]} […]"
            shown = {"i": i, "language": row.language, "instruction": row.instruction, "passage": passage}
            out.write(json.dumps(shown, ensure_ascii=False) + "\n")


def marks(folders: list[Path], reader: Path) -> dict[tuple[int, str, int], bool]:
    """Whether a reader found each row sensible and on topic."""
    rows = mixed(folders, int((reader / "seed").read_text("utf-8")))
    read: list[dict[str, Any]] = [json.loads(line) for line in (reader / "marks.jsonl").read_text("utf-8").splitlines()]
    numbers = [mark["i"] for mark in read]
    if len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(len(rows))):
        raise SystemExit(
            f"{reader}/marks.jsonl has {len(numbers)} marks, expected at most one for each of {len(rows)} rows"
        )
    found = {}
    for mark in read:
        number, row = rows[mark["i"]]
        found[number, row.id, row.candidate] = bool(mark["sensible"] and mark["on_topic"])
    return found


def tally(given: argparse.Namespace) -> None:
    runs, readers = given.folders[:2], given.folders[2:]
    by_reader = [marks(runs, reader) for reader in readers]
    for number, folder in enumerate(runs):
        rows = sorted(curated(folder), key=lambda row: -row.score)
        rows = [row for row in rows if all((number, row.id, row.candidate) in reader for reader in by_reader)]
        marked = [[reader[number, row.id, row.candidate] for reader in by_reader] for row in rows]
        first, second = np.array(marked, dtype=np.float64).T[:2]
        by_chance = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
        kappa = ((first == second).mean() - by_chance) / (1 - by_chance)
        print(f"{folder}: {len(rows)} rows, kappa {kappa:.2f}")
        good = [all(row) for row in marked]
        for best in [*(n for n in given.best if n < len(rows)), len(rows)]:
            documents = [row.document_id for row in rows[:best]]
            low, high = interval(good[:best], documents)
            least = rows[best - 1].score
            print(f"  best {best}, score {least:.3f} and more: {np.mean(good[:best]):.3f} ({low:.3f} to {high:.3f})")


def compare(given: argparse.Namespace) -> None:
    from x_instruction.engines.local.embedder import Embedder

    runs, readers = given.folders[:2], given.folders[2:]
    pages = {page["id"]: page for page in map(json.loads, given.pages.read_text("utf-8").splitlines())}
    first, second = ({row.document_id: row for row in curated(folder)} for folder in runs)
    both = [id for id in first if id in second and id in pages]
    by_reader = [marks(runs, reader) for reader in readers]
    good = [
        [all(reader[n, row.id, row.candidate] for reader in by_reader) for row in (rows[id] for id in both)]
        for n, rows in enumerate((first, second))
    ]
    titles = [". ".join(filter(None, map(pages[id].get, ("title_en", "summary_en")))) for id in both]
    encoder = Embedder("embedded")
    true = encoder.encode(titles)
    cosines = [(encoder.encode([rows[id].instruction for id in both]) * true).sum(axis=1) for rows in (first, second)]
    for source in ("", *sorted({pages[id]["source"] for id in both})):
        for name, (a, b) in (("good", good), ("cosine", cosines)):
            chosen = [
                n for n, id in enumerate(both) if source in ("", pages[id]["source"]) and (name == "good" or titles[n])
            ]
            if not chosen:
                continue
            before, now = np.array(a, dtype=np.float64)[chosen], np.array(b, dtype=np.float64)[chosen]
            low, high = interval((now - before).tolist(), [pages[both[n]]["document"] for n in chosen])
            print(
                f"{source or 'all'}, {name}: {before.mean():.3f}, {now.mean():.3f}, {(now - before).mean():+.3f} "
                f"({low:+.3f} to {high:+.3f}) of {len(chosen)} pages"
            )


def interval(good: Sequence[float], documents: list[str]) -> tuple[float, float]:
    numbers = {document: number for number, document in enumerate(dict.fromkeys(documents))}
    owner = np.array([numbers[document] for document in documents])
    sums, counts = np.bincount(owner, weights=good), np.bincount(owner)
    drawn = np.random.default_rng(0).integers(len(sums), size=(REPEATS, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5]).tolist()
    return low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["mix", "tally", "compare"])
    parser.add_argument(
        "folders", type=Path, nargs="+", help="two run folders; for tally and compare, then the folders of two readers"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--best", type=int, nargs="*", default=[28, 43, 82])
    parser.add_argument("--pages", type=Path, help="for compare: the pages with their English titles, .jsonl")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    {"mix": mix, "tally": tally, "compare": compare}[given.action](given)


if __name__ == "__main__":
    main()
