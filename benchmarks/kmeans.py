"""Clusters of k-means beside other implementations: time, memory, inertia, and the diversity of the selected rows.

    python benchmarks/kmeans.py --rows 32000 64000 320000
    python benchmarks/kmeans.py --pages PARALLEL --sides ours converged
    python benchmarks/kmeans.py --rows 64000 --python FAISS/bin/python

Rows are unit vectors around planted centres, or embeddings of the English sentences of pages. ``FAISS`` is an
environment with faiss-cpu; without it, that side is left out. Each side runs in a process of its own with one thread,
in turn, with the square root of the rows as the number of clusters. Half of the rows are selected, with random scores.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from diversify import planted

FAISS = """
import resource, sys
import faiss, numpy as np
rows, clusters, seed = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
faiss.omp_set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF)
means = faiss.Kmeans(rows.shape[1], clusters, seed=seed)
means.train(rows)
labels = means.index.search(rows, 1)[1][:, 0]
after = resource.getrusage(resource.RUSAGE_SELF)
np.save(sys.argv[4], labels)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss - before.ru_maxrss)
"""
SIDES = ("ours", "converged", "minibatch", "faiss")


def labelled(side: str, rows: Any, clusters: int, seed: int) -> Any:
    """The labels of one side. ``converged`` is k-means++ on all rows, and rounds until centres stay."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    from x_instruction.diversify.kmeans import cluster

    with threadpool_limits(limits=1):
        if side == "ours":
            return cluster(rows, clusters, seed)
        if side == "converged":
            return KMeans(clusters, n_init=1, random_state=seed).fit_predict(rows)
        return MiniBatchKMeans(clusters, n_init=1, batch_size=8_192, random_state=seed).fit_predict(rows)


def child(side: str, path: str, clusters: int, seed: int, target: str) -> None:
    rows = np.load(path)
    labelled("ours", rows[:100], 2, 0)  # imports
    before = resource.getrusage(resource.RUSAGE_SELF)
    labels = labelled(side, rows, clusters, seed)
    after = resource.getrusage(resource.RUSAGE_SELF)
    np.save(target, labels)
    print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss - before.ru_maxrss)


def sentences(folder: Path) -> Any:
    """Embeddings of the sentences of pages with English text."""
    import json

    from x_instruction.engines.local.embedder import Embedder

    texts: set[str] = set()
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            page = json.loads(line)
            parts = re.split(r"(?<=[.!?])\s+|\n", "\n".join(page[key] for key in ("title_en", "summary_en", "text_en")))
            texts.update(part.strip() for part in parts if 15 < len(part.strip()) < 200)
    return Embedder("embedded-minilm", threads=2).encode(sorted(texts))


def measures(rows: Any, labels: Any, reference: Any, seed: int) -> str:
    """Inertia of a row; of the selected half, mean cosine and the entropy over one reference of clusters."""
    from x_instruction.diversify.measures import entropy, mean_cosine
    from x_instruction.diversify.round_robin import renumber, turns

    _, numbers = np.unique(labels, return_inverse=True)
    sums = np.zeros((numbers.max() + 1, rows.shape[1]))
    np.add.at(sums, numbers, rows)
    inertia = 1 - float((np.square(sums).sum(axis=1) / np.bincount(numbers)).sum()) / len(rows)
    scores = np.random.default_rng(seed).normal(size=len(rows))
    drawn = [selection.row for selection in turns(renumber(labels), scores, len(rows) // 2)]
    share = entropy(reference[drawn]) / math.log(reference.max() + 1)
    return f"inertia {inertia:.4f}; selected: mean cosine {mean_cosine(rows[drawn]):.4f}, entropy {share:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--pages", type=Path)
    parser.add_argument("--python", help="of an environment with faiss-cpu")
    parser.add_argument("--sides", nargs="+", default=SIDES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()
    sets = {f"{count:,} planted rows": planted(count, False) for count in arguments.rows}
    if arguments.pages:
        sets["sentences"] = sentences(arguments.pages)
    with tempfile.TemporaryDirectory() as folder:
        path, target = f"{folder}/rows.npy", f"{folder}/labels.npy"
        for name, rows in sets.items():
            np.save(path, rows)
            clusters = round(math.sqrt(len(rows)))
            # Clusters that no side made say how widely each selection is spread.
            reference = np.argmax(rows @ rows[:: len(rows) // 100].T, axis=1)
            for seed in arguments.seeds:
                for side in arguments.sides:
                    if side == "faiss" and not arguments.python:
                        continue
                    own = [__file__, "--child", side, path, str(clusters), str(seed), target]
                    command = [arguments.python, "-c", FAISS, *own[3:]] if side == "faiss" else [sys.executable, *own]
                    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {
                        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"
                    }).stdout  # fmt: skip
                    seconds, grown = map(float, out.split())
                    print(
                        f"{name}, {clusters} clusters, seed {seed}: {side:9} {seconds:6.1f} s CPU, "
                        f"{grown / 1024:4.0f} MB; " + measures(rows, np.load(target), reference, seed),
                        flush=True,
                    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    else:
        main()
