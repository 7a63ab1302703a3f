"""Seconds and peak memory of the stages that ask a model, for shards of several sizes, each in a process of its own.

    python benchmarks/shard_memory.py --passages 2000 8000 32000

A scripted engine answers at once; everything else is the real code, with four candidates per passage.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from x_instruction.engines import Choice, Chosen, Completed, single_batch

_WORDS = ("koira talo metsä järvi kalastaa talvi kesä leipä maito puhua vanha uusi", "kaupunki kirja oppia laulaa")


class Scripted:
    """An engine whose answers are functions of the requests."""

    model, revision, chat = "scripted", "1", False
    capabilities = frozenset(("complete", "choose"))
    plan = staticmethod(single_batch)

    def truncate(self, text: str, tokens: int) -> str:
        return text[: tokens * 4]

    def answer(self, requests: Any, shared: int = 0, should_continue: Any = None) -> Iterator[tuple[int, Any]]:
        for row, request in enumerate(requests):
            draw = hashlib.sha256(repr(request).encode()).hexdigest()
            if isinstance(request, Choice):
                share = 1 / len(request.answers)
                yield row, Chosen((share,) * len(request.answers), 500, 1)
            else:
                yield row, Completed(f" Explain how thing {draw[:12]} is made in the village?", "stop", 500, 12)


def recipe() -> Any:
    from x_instruction.config.recipe import Recipe
    from x_instruction.config.section import validate

    model = {"name": "scripted", "engine": "openai", "server": {"url": "http://127.0.0.1:9"}}
    return validate(
        Recipe,
        {
            "name": "memory",
            "languages": ["fi"],
            "corpus": {"source": "sample"},
            "generate": {"model": model, "candidates": 4},
            "refine": {"rater": "prompted", "model": model},
            "diversify": {"embedder": "embedded"},
        },
    )


def passages(number: int) -> Iterator[Any]:
    from x_instruction.records import Passage, text_digest

    words = " ".join(_WORDS).split()
    for index in range(number):
        text = " ".join(words[(index * 7 + word * word) % len(words)] for word in range(400)) + f" {index}."
        yield Passage(
            id=f"fi-{index:016x}",
            language="fi",
            text=text,
            document_id=str(index),
            segment=0,
            source="s",
            url="",
            license="x",
            text_hash=text_digest(text),
            identified="fi",
            identified_confidence=1.0,
        )


def measure(root: Path, number: int, stage: str) -> None:
    from x_instruction.pipeline.worker import ShardTask, Worker
    from x_instruction.storage.run_folder import RunFolder, ShardReport
    from x_instruction.storage.shard_key import PASSAGE, StageKey

    run = RunFolder(root)
    if stage == "passage":
        run.write(ShardReport(PASSAGE.shard("fi")), passages(number))
        run.finish(PASSAGE, "fi", 1)
        return
    settings = recipe()
    worker: Any = Worker(run, settings)
    worker._engine = (settings.generate.model, Scripted())
    started = time.monotonic()
    (report,) = worker.make(ShardTask(StageKey(stage).shard("fi"), {}), lambda activity: None)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{stage:9} {number:6,} passages, {report.rows_in:7,} rows in, {report.kept:7,} kept "
        f"{time.monotonic() - started:6.1f} s {usage.ru_utime + usage.ru_stime:6.1f} s CPU, "
        f"peak {usage.ru_maxrss / 1024:6,.0f} MB  {report.digest[:12]}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, nargs="+", default=[2_000, 8_000, 32_000])
    for number in parser.parse_args().passages:
        with tempfile.TemporaryDirectory() as folder:
            for stage in ("passage", "candidate", "rated"):
                process = multiprocessing.get_context("spawn").Process(
                    target=measure, args=(Path(folder), number, stage)
                )
                process.start()
                process.join()


if __name__ == "__main__":
    main()
