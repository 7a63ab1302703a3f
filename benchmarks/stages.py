"""Rows that generate and refine make in a second of CPU time, without a model.

    python benchmarks/stages.py --languages fi th bn
    python benchmarks/stages.py --languages fi --profile

An engine answers at once; everything else is the real code, with four candidates per passage: prompts, request cache,
checks and shards. With ``--tokenizer`` texts are truncated by the tokenizer of the embedded model, as an engine in this
process does, and else by bytes, as engines of servers do by default.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import pstats
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import busy

from x_instruction.engines import (
    Choice,
    Chosen,
    Completed,
    Completion,
    Request,
    Result,
    Scored,
    always,
    single_batch,
)
from x_instruction.engines.truncation import Truncate, truncate_by_bytes
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE, StageKey

# Characters of a passage. Some texts of the sample have no full stop, so sentences of it are longer.
LENGTH = 900


class Instant:
    """An engine whose answers follow from the requests."""

    model, revision, chat = "instant", "1", False
    capabilities = frozenset({"complete", "choose", "score"})
    plan = staticmethod(single_batch)

    def __init__(self, truncate: Truncate) -> None:
        self.truncate = truncate

    def answer(
        self, requests: Iterable[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        for row, request in enumerate(requests):
            if isinstance(request, Completion):
                yield row, Completed(busy.text(request), "stop", 500, busy.OUTPUT_TOKENS)
                continue
            share = int(hashlib.sha256(repr(request).encode()).hexdigest()[:4], 16) / 0xFFFF
            if isinstance(request, Choice):
                rest = (1 - share) / (len(request.answers) - 1)
                yield row, Chosen((share, *[rest] * (len(request.answers) - 1)), 500, 1)
            else:
                yield row, Scored(-100 * share, 20, 500)

    def answer_stream(
        self, requests: Iterable[Request], should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        yield from self.answer(requests)


def measure(worker: Any, stage: str, tag: str, profile: bool) -> str:
    # What is loaded once, such as language models, is loaded for a small shard.
    worker.make(ShardTask(StageKey(stage).shard(tag), {}), lambda activity: None)
    profiler = cProfile.Profile(time.process_time)
    started = time.process_time()
    if profile:
        profiler.enable()
    (report,) = worker.make(ShardTask(StageKey(stage).shard(tag, 1), {}), lambda activity: None)
    profiler.disable()
    seconds = time.process_time() - started
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30).print_callers(8)
    rows = report.kept + sum(report.dropped.values())
    return f"{rows / seconds:6,.0f} rows/s of CPU time, {report.kept:6,} kept, {report.digest[:12]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=2_000)
    parser.add_argument("--languages", nargs="+", default=["fi", "th", "bn"])
    parser.add_argument("--tokenizer", action="store_true")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    truncate: Truncate = truncate_by_bytes
    if given.tokenizer:
        from transformers import AutoTokenizer

        from x_instruction.engines.local.prompt_encoder import PromptEncoder
        from x_instruction.engines.models import PLAIN, locate

        tokenizer = AutoTokenizer.from_pretrained(locate("embedded", None).folder, **PLAIN)
        truncate = PromptEncoder(tokenizer, "embedded", None).truncate
    for tag in given.languages * given.repeats:
        for rater in ("pmi", "prompted"):
            settings = busy.recipe(tag, rater)
            with tempfile.TemporaryDirectory() as folder:
                run = RunFolder(Path(folder))
                for index, number in enumerate((10, given.passages)):
                    texts = (replace(passage, text=passage.text[:LENGTH]) for passage in busy.passages(number, tag))
                    run.write(ShardReport(PASSAGE.shard(tag, index)), texts)
                run.finish(PASSAGE, tag, 2)
                worker: Any = Worker(run, settings)
                worker._engine = (settings.generate.model, Instant(truncate))
                for stage in ("candidate", "rated"):
                    name = "generate" if stage == "candidate" else rater
                    print(f"{tag} {name:8}: {measure(worker, stage, tag, given.profile)}", flush=True)


if __name__ == "__main__":
    main()
