"""One job: making one shard (or, for passages, the shards of one language). It runs in whatever process asks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.config.section import flatten
from x_instruction.engines import Engine, engine_spec, open_engine
from x_instruction.engines.budget import Budget, LocalSpend, SpendCounter, cost
from x_instruction.engines.models import locate
from x_instruction.engines.request_cache import RequestCache
from x_instruction.languages import language
from x_instruction.pipeline.rounds import last_round, rating, writing
from x_instruction.records import Candidate, Dropped, Passage, Rated
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE, ShardKey, StageKey

# Done so far, and how many are known so far (0 while nobody knows).
Seen = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to make; for passages all shards of the language, and the index of the key is 0.

    Args:
        key: the shard.
        settings: everything that decides its content, for its report.
    """

    key: ShardKey
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StageTask:
    """What a stage that asks a model does with one shard.

    Args:
        rows: records that go in.
        records: those that come out, given an engine and a way to ask it.
        asks: whether the model is asked at all; otherwise it need not be there.
    """

    model: Model
    rows: int
    records: Callable[[Engine, Callable[..., Any]], Iterable[Passage | Dropped]]
    asks: bool = True


class Worker:
    """Makes shards, keeping loaded models from job to job.

    Args:
        limit: what the run may spend, in the currency of the recipe's prices.
        purse: what it has spent so far, all workers together.
    """

    def __init__(
        self, run: RunFolder, settings: Recipe, limit: float | None = None, purse: SpendCounter | None = None
    ) -> None:
        self.run = run
        self.recipe = settings
        self.limit = limit
        self.purse = purse or LocalSpend()
        self._engine: tuple[Model, Engine] | None = None
        self._embedder: Any = None

    def perform(self, job: ShardTask, seen: Seen) -> list[ShardReport]:
        """Make the job's shards; reports of those made.

        Raises:
            XInstructionError: nothing half-made is left behind under a shard's name.
        """
        if job.key.stage == "passage":
            return self._passages(job, seen)
        return self._curated(job, seen) if job.key.stage == "curated" else self._asked(job, seen)

    def asking(self, job: ShardTask) -> StageTask:
        """What a job of a stage that asks a model does."""
        from x_instruction.refine import asks, refine

        key = job.key
        if key.stage == "candidate":
            return self._writing(key)
        candidates = cast(list[Candidate], list(self.run.read(key.at(StageKey("candidate", key.round)))))
        rate = rating(self.run, self.recipe, key.round, key.language)
        return StageTask(
            rate.model, len(candidates), lambda engine, ask: refine(candidates, rate, engine, ask), asks(rate)
        )

    def _writing(self, key: ShardKey) -> StageTask:
        """Writing for all passages, or in a later round for those of which nothing was kept."""
        from x_instruction.generate import generate

        write = writing(self.run, self.recipe, key.round, key.language)
        passages = list(self.run.read(key.at(PASSAGE)))
        before: list[Candidate] = []
        if key.round:
            before = cast(list[Candidate], list(self.run.read(key.at(StageKey("candidate", key.round - 1)))))
            kept = {record.id for record in self.run.read(key.at(StageKey("rated", key.round - 1)))}
            passages = [passage for passage in passages if passage.id not in kept]

        def records(engine: Engine, ask: Callable[..., Any]) -> Iterator[Passage | Dropped]:
            yield from before
            yield from generate(passages, write, engine, ask, self.recipe.seed, key.round, before)

        return StageTask(write.model, len(before) + len(passages), records)

    def engine(self, model: Model) -> Engine:
        """The engine of a model, loaded once; the one before is let go, since a machine may hold no two."""
        if self._engine is None or self._engine[0] != model:
            self._engine = None
            self._engine = model, open_engine(model)
        return self._engine[1]

    def ledger(self, job: ShardTask, model: Model, seen: Seen = lambda done, total: None) -> RequestCache:
        """The request cache of a job's shard."""
        path = self.run.cache(job.key)
        return RequestCache(path, self.engine(model), identity(model), seen, Budget(self.limit, self.purse, model))

    def _passages(self, job: ShardTask, seen: Seen) -> list[ShardReport]:
        from x_instruction.corpus.stage import passages

        tag = job.key.language
        scratch = self.run.root / "scratch" / tag
        shutil.rmtree(scratch, ignore_errors=True)
        read = 0

        def count(documents: int) -> None:
            nonlocal read
            read = documents
            seen(documents, 0)

        records: Iterator[Passage | Dropped] = passages(self.recipe.corpus, language(tag), scratch, count)
        reports: list[ShardReport] = []
        try:
            head = list(_take(records, 1))
            while head or not reports:
                started = time.monotonic()
                report = ShardReport(PASSAGE.shard(tag, len(reports)), job.settings)
                block = _block(chain(head, records), self.recipe.corpus.shard_size)

                def finish(report: ShardReport, started: float = started) -> None:
                    report.rows_in = report.kept + sum(report.dropped.values())
                    report.seconds = time.monotonic() - started

                reports.append(self.run.write(report, block, finish))
                head = list(_take(records, 1))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self.run.finish(PASSAGE, tag, len(reports))
        seen(read, read)
        return reports

    def _curated(self, job: ShardTask, seen: Seen) -> list[ShardReport]:
        from x_instruction.diversify import diversify

        rated = StageKey("rated", last_round(self.run, self.recipe))
        shards = self.run.shards(rated, job.key.language)
        records = [cast(Rated, record) for key in shards for record in self.run.read(key)]
        started = time.monotonic()
        report = ShardReport(job.key, job.settings, rows_in=len(records))

        def finish(report: ShardReport) -> None:
            report.seconds = time.monotonic() - started

        made = diversify(
            records, self.recipe.diversify, self.recipe.seed, self._embed(), lambda n: seen(n, len(records))
        )
        self.run.write(report, made, finish)
        seen(len(records), len(records))
        return [report]

    def _asked(self, job: ShardTask, seen: Seen) -> list[ShardReport]:
        """A stage that asks an engine, its answers remembered."""
        asking = self.asking(job)
        report = ShardReport(job.key, job.settings, rows_in=asking.rows)
        if not asking.asks:
            from x_instruction.refine.null_rater import NullEngine

            self.run.write(report, asking.records(NullEngine(), lambda requests: []))
            seen(asking.rows, asking.rows)
            return [report]
        with self.ledger(job, asking.model, seen) as ledger:

            def finish(report: ShardReport) -> None:
                report.requests = ledger.answered
                for name, value in ledger.totals().items():
                    setattr(report, name, value)
                report.cost = cost(asking.model, report.prompt_tokens, report.output_tokens)

            self.run.write(report, asking.records(ledger.engine, ledger.ask), finish)
        return [report]

    def _embed(self) -> Any:
        if self._embedder is None:
            from x_instruction.engines.local.embedder import Embedder

            settings = self.recipe.diversify
            self._embedder = Embedder(
                settings.embedder, settings.revision, threads=settings.threads, batch_size=settings.batch_size
            )
        return self._embedder


# Where a model runs, and how much at once, changes no more than rounding: moving a run to a larger machine is no
# other run. The data type is. Nor does it matter how patiently a server is asked, or what it costs.
PLACE = frozenset(
    {
        *("device", "batch_tokens", "batch_size", "threads", "batching"),
        *("url", "key_variable", "timeout", "concurrency", "retries", "patience", "stream"),
        *("prompt_price", "output_price"),
        *("memory", "tensor_parallel", "max_num_seqs", "eager"),
    }
)


def identity(model: Model) -> dict[str, Any]:
    """The model's settings that decide its answers."""
    found = {key: value for key, value in flatten(model).items() if key.split(".")[-1] not in PLACE}
    if model.adapter and not engine_spec(model).remote:
        # Where an adapter stands is no matter, what is in it is.
        found["adapter"] = locate(model.adapter).revision
    return found


def _take(records: Iterator[Passage | Dropped], n: int) -> Iterator[Passage | Dropped]:
    for _, record in zip(range(n), records, strict=False):
        yield record


def _block(records: Iterable[Passage | Dropped], kept: int) -> Iterator[Passage | Dropped]:
    """Records up to and including the one that fills a shard."""
    for record in records:
        yield record
        if not isinstance(record, Dropped):
            kept -= 1
            if kept == 0:
                return
