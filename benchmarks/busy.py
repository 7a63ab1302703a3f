"""The share of the time in which an engine works, of a worker that generates two shards of 8,000 requests.

    python benchmarks/busy.py --tokens-per-second 9200 40000

The engine is emulated: its device writes 30 tokens per answer at the given speed, as long as it has requests, while
this process works. Everything else is the real code: passages of the sample corpus, the tokenizer of the embedded
model, prompts, request cache, checks and shards. Time is the CPU time of this process and its waits for the device, so
other load on the machine does not count; with ``--wall`` it is wall time. ``all first`` hides that the engine takes
streams, so that all requests of a shard are prepared before the first one is answered, and all answers are checked
after the last one. Outputs are equal.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from x_instruction.config.recipe import Recipe
from x_instruction.config.section import validate
from x_instruction.engines import Batch, Completed, Completion, Request, Result, always, single_batch
from x_instruction.engines.local.prompt_encoder import PromptEncoder
from x_instruction.engines.models import PLAIN, locate
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.records import Passage, text_digest
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE, StageKey

OUTPUT_TOKENS = 30
# Requests in flight, as vLLM takes them by default: twice those that run at once.
WINDOW = 512
VERBS = ("is built", "is kept", "is repaired", "changed")
THINGS = ("a wooden boat", "a village school", "the winter road", "a small harbour", "the old mill", "a family farm")


class Clock:
    """Seconds of CPU time and of waits, or of wall time."""

    def __init__(self, wall: bool) -> None:
        self.wall = wall
        self._waited = 0.0

    def now(self) -> float:
        return time.monotonic() if self.wall else time.process_time() + self._waited

    def wait_until(self, end: float) -> None:
        seconds = max(0.0, end - self.now())
        if self.wall:
            time.sleep(seconds)
        else:
            self._waited += seconds


class Device:
    """Works on one request after the other.

    Args:
        encoder: of the model's tokenizer.
        seconds: of each request.
        clock: measures time.
    """

    capabilities = frozenset({"complete"})
    model, revision, chat = "emulated", "1", False

    def __init__(self, encoder: PromptEncoder, seconds: float, clock: Clock) -> None:
        self.encoder, self.seconds, self.clock = encoder, seconds, clock
        self.worked = 0.0
        self._free = 0.0

    def truncate(self, text: str, tokens: int) -> str:
        return self.encoder.truncate(text, tokens)

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        return single_batch(requests)

    def answer(
        self, requests: Iterable[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Generator[tuple[int, Result], None, None]:
        queue = enumerate(requests)
        in_flight: deque[tuple[float, int, Result]] = deque()
        while True:
            # A few at a time, so that answers are not kept waiting.
            taken = list(islice(queue, min(16, WINDOW - len(in_flight))))
            encoded = self.encoder.prompts(request.prompt for _, request in taken)
            for position, request in taken:
                self._free = max(self._free, self.clock.now()) + self.seconds
                self.worked += self.seconds
                answer = Completed(text(request), "stop", len(encoded[request.prompt]), OUTPUT_TOKENS)
                in_flight.append((self._free, position, answer))
            if not in_flight:
                return
            if len(in_flight) >= WINDOW or in_flight[0][0] <= self.clock.now():
                self.clock.wait_until(in_flight[0][0])
            while in_flight and in_flight[0][0] <= self.clock.now():
                _, position, result = in_flight.popleft()
                yield position, result


class Streaming(Device):
    """A device whose engine takes requests while they are prepared."""

    def answer_stream(
        self, requests: Iterable[Request], should_continue: Callable[[], bool] = always
    ) -> Generator[tuple[int, Result], None, None]:
        yield from self.answer(requests)


def text(request: Request) -> str:
    assert isinstance(request, Completion)
    rest, verb = divmod(request.seed, len(VERBS))
    days, thing = divmod(rest, len(THINGS))
    return f" How did people who lived near the sea learn how {THINGS[thing]} {VERBS[verb]} within {days % 900} days?"


def passages(number: int, tag: str) -> Iterator[Passage]:
    """Passages of eight sentences each, drawn from the sample."""
    sample = resources.files("x_instruction.corpus.sample").joinpath(f"{tag}.jsonl").read_text("utf-8").splitlines()
    sentences = [part.strip(" .") for line in sample for part in json.loads(line)["text"].split(". ") if len(part) > 50]
    draw = random.Random(0)
    for index in range(number):
        written = ". ".join(draw.sample(sentences, 8)) + "."
        yield Passage(
            id=f"{tag}-{index:016x}",
            language=tag,
            text=written,
            document_id=str(index),
            segment=0,
            source="sample",
            url="",
            license="Apache-2.0",
            text_hash=text_digest(written),
            identified=tag,
            identified_confidence=1.0,
        )


def recipe(tag: str, rater: str = "none") -> Recipe:
    """A recipe with four candidates for each passage. Its model is named only: the engine is one of these files."""
    model = {"name": "emulated", "engine": "openai", "server": {"url": "http://127.0.0.1:9"}}
    return validate(
        Recipe,
        {
            "name": "emulated",
            "languages": [tag],
            "corpus": {"source": "sample"},
            "generate": {"model": model, "candidates": 4},
            "refine": {"rater": rater} | ({} if rater == "none" else {"model": model}),
            "diversify": {"embedder": "embedded"},
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens-per-second", type=float, nargs="+", default=[9_200, 40_000])
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--passages", type=int, default=2_000, help="of a shard; each has four requests")
    parser.add_argument("--language", default="fi")
    parser.add_argument("--wall", action="store_true", help="measure wall time, on an idle machine")
    given = parser.parse_args()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(locate("embedded", None).folder, **PLAIN)
    settings = recipe(given.language)
    for speed in given.tokens_per_second:
        for name, kind in (("all first", Device), ("streamed", Streaming)):
            with tempfile.TemporaryDirectory() as folder:
                run = RunFolder(Path(folder))
                for index in range(given.shards):
                    run.write(
                        ShardReport(PASSAGE.shard(given.language, index)), passages(given.passages, given.language)
                    )
                run.finish(PASSAGE, given.language, given.shards)
                worker: Any = Worker(run, settings)
                clock = Clock(given.wall)
                device = kind(PromptEncoder(tokenizer, "embedded", None), OUTPUT_TOKENS / speed, clock)
                worker._engine = (settings.generate.model, device)
                started, computed = clock.now(), time.process_time()
                digests = []
                for index in range(given.shards):
                    task = ShardTask(StageKey("candidate").shard(given.language, index), {})
                    digests += [report.digest[:12] for report in worker.make(task, lambda activity: None)]
                seconds = clock.now() - started
                print(
                    f"{speed:6,.0f} tokens/s, {name:9}: {seconds:5.1f} s, {time.process_time() - computed:4.1f} s of "
                    f"CPU time, the engine works {device.worked / seconds:.3f} of the time, {' '.join(digests)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
