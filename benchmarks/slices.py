"""The corpus of one language with one worker and with two, and the removal of duplicates from many passages.

    python benchmarks/slices.py speed --data PAGES --documents 40000
    python benchmarks/slices.py duplicates --passages 1000000

``PAGES`` holds ``<tag>.jsonl`` with real pages. A corpus of any size is made of their sentences, so most documents are
kept; a share are exact or near duplicates of one far before. Every measurement is a process of its own, and prints a
line of JSON: seconds of wall time, CPU time of it and of its workers, and the most memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

# Rows of a slice.
SLICE = 5_000
# The share of exact and of near duplicates, each.
PLANTED = 0.03


def planted(fresh: Callable[[], list[str]], rng: random.Random) -> Iterator[str]:
    """Texts of which some are duplicates of one of the first thousand."""
    early: list[list[str]] = []
    for number in count():
        chance = rng.random()
        words = fresh() if not early or chance > 2 * PLANTED else list(rng.choice(early))
        if early and PLANTED < chance <= 2 * PLANTED:
            words[rng.randrange(len(words))] = f"Neno{number}."
        if len(early) < 1_000:
            early.append(words)
        yield " ".join(words)


def documents(pages: Path, seed: int) -> Iterator[str]:
    """Texts of eight sentences from real pages."""
    rng = random.Random(seed)
    with open(pages, encoding="utf-8") as stream:
        text = " ".join(json.loads(line)["text"].replace("\n", " ") for line in stream)
    sentences = [f"{sentence}." for sentence in text.split(". ") if 40 < len(sentence) < 300]
    return planted(lambda: rng.sample(sentences, 8), rng)


def write(path: Path, texts: Iterator[str], number: int) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        for text in islice(texts, number):
            stream.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def run(corpus: Path, tag: str, workers: int, slice_rows: int, out: Path) -> dict[str, Any]:
    """The corpus stage of a run."""
    from x_instruction.config.corpus import Corpus
    from x_instruction.config.diversify import Diversify
    from x_instruction.config.generate import Generate
    from x_instruction.config.model import Model
    from x_instruction.config.recipe import Recipe
    from x_instruction.config.refine import Refine
    from x_instruction.pipeline.execute import execute
    from x_instruction.pipeline.progress import NullProgress
    from x_instruction.storage.shard_key import PASSAGE

    model = Model(name="none")
    recipe = Recipe(
        name="speed",
        languages=(tag,),
        corpus=Corpus(source="files", paths=(str(corpus),), slice_rows=slice_rows),
        generate=Generate(model=model),
        refine=Refine(rater="pmi", model=model),
        diversify=Diversify(embedder="embedded"),
    )
    made = execute(recipe, out, workers, False, "passage", NullProgress())
    reports = [made.report(key) for key in made.shards(PASSAGE, tag)]
    return {"kept": sum(report.kept for report in reports), "bytes": [report.digest[:8] for report in reports][:3]}


def duplicates(passages: int, folder: Path) -> dict[str, Any]:
    """Hash passages in slices as workers do, then remove duplicates among all of them."""
    from x_instruction.config.corpus import Corpus
    from x_instruction.corpus import stage
    from x_instruction.corpus.dedup import text_keys
    from x_instruction.corpus.slices import MadeSlice
    from x_instruction.languages import language
    from x_instruction.records import Dropped, Screened, text_digest
    from x_instruction.storage.run_folder import RunFolder, ShardReport
    from x_instruction.storage.shard_key import SLICE as SLICES

    words = [f"{chr(97 + a)}{chr(97 + b)}{chr(97 + c)}a" for a in range(26) for b in range(26) for c in range(26)]
    rng = random.Random(1)
    texts = planted(lambda: rng.choices(words, k=60), rng)
    store, swahili = RunFolder(folder / "run"), language("sw")

    def screened(number: int) -> Iterator[Screened]:
        for first in range(0, number, 256):
            batch = list(islice(texts, min(256, number - first)))
            for position, (text, keys) in enumerate(zip(batch, text_keys(batch, 0.7, True), strict=True), first):
                digest = text_digest(text)
                yield Screened(
                    id=f"sw-{digest[:16]}", language="sw", text=text, document_id=f"{position}", segment=0, source="",
                    url="", license="", text_hash=digest, identified="sw", identified_confidence=1.0,
                    position=position, batch_end=first + len(batch), keys=keys,
                )  # fmt: skip

    made, started = [], time.perf_counter()
    for index, first in enumerate(range(0, passages, SLICE)):
        number = min(SLICE, passages - first)
        key = SLICES.shard("sw", index)
        store.write(ShardReport(key), screened(number))
        made.append(MadeSlice(number, {}, lambda key=key: store.read(key), lambda key=key: store.dropped(key)))  # type: ignore[arg-type, misc]
    hashed, hashed_cpu = time.perf_counter(), time.process_time()
    found = Counter(
        record.reason if isinstance(record, Dropped) else "kept"
        for record in stage.passages(Corpus(source="files", paths=("-",)), swahili, folder, made=made, rest=None)
    )
    merged = {"merge_wall": time.perf_counter() - hashed, "merge_cpu": time.process_time() - hashed_cpu}
    return {"slices_wall": hashed - started, **merged, "counts": dict(found)}


def measured(measurement: Callable[..., dict[str, Any]], *arguments: Any) -> None:
    """Print what a measurement gives and takes."""
    started = time.perf_counter()
    found = measurement(*arguments)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found["wall"] = round(time.perf_counter() - started, 1)
    found["cpu"], found["cpu_of_workers"] = (round(used.ru_utime + used.ru_stime, 1) for used in usage)
    found["megabytes"] = max(used.ru_maxrss for used in usage) // 1024
    print(json.dumps(found), flush=True)


def main() -> None:
    """Make a corpus and run the measurements, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "duplicates", "run"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tag", default="id")
    parser.add_argument("--documents", type=int, default=40_000)
    parser.add_argument("--slice-rows", type=int, default=SLICE)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "run":
        corpus, workers, slice_rows, out = options.run
        measured(run, Path(corpus), options.tag, int(workers), int(slice_rows), Path(out))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "duplicates":
            measured(duplicates, options.passages, folder)
            return
        corpus = folder / "corpus.jsonl"
        write(corpus, documents(options.data / f"{options.tag}.jsonl", 1), options.documents)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        for repeat in range(options.repeats):
            # One task for all of the corpus, then slices with one worker and with two.
            for workers, slice_rows in ((1, options.documents), (1, options.slice_rows), (2, options.slice_rows)):
                out = folder / f"run-{repeat}-{workers}-{slice_rows}"
                print(f"{workers} worker(s), slices of {slice_rows:,}: ", end="", flush=True)
                line = ["run", "--tag", options.tag, "--run", str(corpus), str(workers), str(slice_rows), str(out)]
                subprocess.run([sys.executable, __file__, *line], check=True, env=environment)


if __name__ == "__main__":
    main()
