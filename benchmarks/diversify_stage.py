"""Seconds and peak memory of the stage diversify for one large language, in a process of its own.

    python benchmarks/diversify_stage.py --rows 1000000 --selectors sampled-kmeans

Rated shards of real size (3 kB of text per row) are made, with planted duplicates in all shards, and embeddings around
planted centres. ``--small`` gives the embeddings by an encoder that takes no time, as a small language has them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from diversify import planted

SHARD = 20_000
QUOTA = 32_000


def recipe(selector: str, clusters: int | None) -> Any:
    from x_instruction.config.recipe import Recipe
    from x_instruction.config.section import validate

    return validate(
        Recipe,
        {
            "name": "large",
            "languages": ["fi"],
            "corpus": {"source": "sample"},
            "generate": {"model": {"name": "embedded"}},
            "refine": {"rater": "none"},
            "diversify": {
                "embedder": "embedded",
                "selector": selector,
                "quota": QUOTA,
                "clusters": clusters,
                "max_per_domain": 0.05,
            },
        },
    )


def write(root: Path, rows: int, embedded: bool) -> None:
    """Rated shards, and embedded ones. A tenth of the instructions are duplicates of others, in any shard."""
    from x_instruction.records import Embedded, Rated, schema
    from x_instruction.storage.run_folder import RunFolder, ShardReport
    from x_instruction.storage.shard_key import EMBEDDED, PASSAGE, StageKey

    run = RunFolder(root)
    random = np.random.default_rng(1)
    words = np.array([f"w{number}" for number in range(20_000)])
    for index, start in enumerate(range(0, rows, SHARD)):
        number = np.arange(start, min(start + SHARD, rows))
        n = len(number)
        unique = np.where(random.random(n) < 0.1, random.integers(0, rows, n), number)
        text = [" ".join(part) for part in words[random.integers(0, len(words), (n, 400))]]
        columns: dict[str, Any] = {
            name: ["x"] * n if kind == pa.string() else np.zeros(n, dtype=kind.to_pandas_dtype())
            for name, kind in zip(schema(Rated).names, schema(Rated).types, strict=True)
        }
        columns |= {
            "id": [f"fi-{value:016x}" for value in random.integers(0, 1 << 62, n)],
            "language": ["fi"] * n,
            "text": text,
            "instruction": [
                f"What is thing {u}, and how do the people there make it by hand in winter?" for u in unique
            ],
            "score": random.normal(size=n),
            "url": [f"https://d{value}.example/{value}" for value in random.zipf(1.5, n) % 100_000],
        }
        key = StageKey("rated").shard("fi", index)
        run.path(key).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, schema=schema(Rated)), run.path(key), compression="zstd")
        for shard in (key, key.at(PASSAGE), *([key.at(EMBEDDED)] if embedded else [])):
            run.path(shard).parent.mkdir(parents=True, exist_ok=True)
            report = ShardReport(shard, kept=n)
            run.path(shard, ".report.json").write_text(json.dumps(report.as_json()))
        if embedded:
            vectors = planted(n, False, seed=index)
            table = pa.table(
                [columns["id"], columns["candidate"], [vector.tobytes() for vector in vectors]], schema=schema(Embedded)
            )
            pq.write_table(table, run.path(key.at(EMBEDDED)), compression="zstd")
    for stage in (PASSAGE, StageKey("rated")):
        run.finish(stage, "fi", index + 1)


class Instant:
    """An encoder that takes no time."""

    model, revision = "instant", "1"

    def encode(self, texts: Any, seen: Any = None) -> Any:
        return planted(len(texts), False)


def measure(root: Path, selector: str, clusters: int | None, embedded: bool) -> None:
    from x_instruction.pipeline.worker import ShardTask, Worker
    from x_instruction.storage.run_folder import RunFolder
    from x_instruction.storage.shard_key import CURATED

    worker: Any = Worker(RunFolder(root), recipe(selector, clusters))
    worker._embedder = Instant()
    settings = {"diversify.embedded": "by shard"} if embedded else {}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    started, cpu = time.monotonic(), usage.ru_utime + usage.ru_stime
    (report,) = worker.make(ShardTask(CURATED.shard("fi"), settings), lambda activity: None)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{selector:14} {report.rows_in:9,} rows {report.kept:7,} kept {time.monotonic() - started:7.1f} s "
        f"{usage.ru_utime + usage.ru_stime - cpu:7.1f} s CPU, peak {usage.ru_maxrss / 1024:6,.0f} MB",
        flush=True,
    )
    print(report.dropped, report.digest[:12])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=320_000)
    parser.add_argument("--small", action="store_true", help="without embedded shards")
    parser.add_argument("--selectors", nargs="+", default=["sampled-kmeans", "kmeans"])
    parser.add_argument("--clusters", type=int, help="the square root of the rows by default")
    parser.add_argument("--folder", help="use an existing folder, or keep it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(arguments.folder or temporary) / "run"
        if not root.exists():
            write(root, arguments.rows, not arguments.small)
        for selector in arguments.selectors:
            shutil.rmtree(root / "curated", ignore_errors=True)
            process = multiprocessing.get_context("spawn").Process(
                target=measure, args=(root, selector, arguments.clusters, not arguments.small)
            )
            process.start()
            process.join()


if __name__ == "__main__":
    main()
