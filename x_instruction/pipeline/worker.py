"""A worker: makes one shard, or all passage shards of a language, in whatever process calls it."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, cast

from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.corpus.shard_sizes import shard_size
from x_instruction.engines import (
    Ask,
    AskParts,
    Engine,
    HalvesBatches,
    ReportsTokens,
    Request,
    Result,
    in_parts,
    open_engine,
)
from x_instruction.engines.budget import Budget, LocalSpend, SpendCounter, cost
from x_instruction.engines.fingerprint import fingerprint, located
from x_instruction.engines.local.memory import is_out_of_memory, release
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import OutOfMemory, ShardError
from x_instruction.hashing import digest
from x_instruction.languages import language
from x_instruction.pipeline import blocks
from x_instruction.pipeline.activity import Meter, OnActivity
from x_instruction.pipeline.rated_shards import RatedShards
from x_instruction.pipeline.rounds import embedder_name, last_round, rating, writing
from x_instruction.records import Candidate, Dropped, Embedded, Passage, Screened
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.scratch import local_cache, scratch_folder
from x_instruction.storage.shard_key import PASSAGE, SLICE, ShardKey, StageKey

if TYPE_CHECKING:
    from x_instruction.corpus.slices import MadeSlice
    from x_instruction.corpus.sources import Start


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to make. For passages it means all shards of the language, and the index of its key is 0; slices of
    the language's corpus, which several workers make at the same time, are made before it.

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
        model: the model to ask. If None, none is asked and none has to exist.
        rows: number of records that go in.
        blocks: number of blocks.
        records: yields, for each block, the records that come out, given an engine and two functions that ask it: for
            requests, and for requests that are prepared part by part.
    """

    model: Model | None
    rows: int
    blocks: int
    records: Callable[[Engine, Ask, AskParts], Iterator[Iterable[Passage | Dropped]]]


class Worker:
    """Makes shards, and keeps loaded models from task to task.

    Args:
        run: the run folder.
        settings: the recipe.
        limit: the most that the run may cost, at the prices of the recipe; None for no limit.
        spent: what it has cost so far, over all workers.
        scratch: folder on a local disk for request caches; see ``storage.scratch``.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: Recipe,
        limit: float | None = None,
        spent: SpendCounter | None = None,
        scratch: str = "",
    ) -> None:
        self.run = run
        self.recipe = settings
        self.limit = limit
        self.spent = spent or LocalSpend()
        self.scratch = scratch
        self._engine: tuple[Model, Engine] | None = None
        self._embedder: Any = None
        self._screen: tuple[str, Any] | None = None
        self._halved = False

    def make(self, task: ShardTask, on_activity: OnActivity) -> list[ShardReport]:
        """Make the shards of a task.

        Args:
            task: the task.
            on_activity: called a few times per second with the work so far.

        Returns:
            A report for each shard that was made.

        Raises:
            OutOfMemory: a GPU has too little memory for it, also in batches of half the size.
            XInstructionError: a stage or its engine failed. No incomplete file is left under the name of a shard.
        """
        try:
            return self._make(task, Meter(on_activity))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Here and not above: the error keeps the tensors of the attempt.
        self._recover()
        self._halve(True)
        try:
            return self._make(task, Meter(on_activity))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).strip().splitlines()[0]
        finally:
            self._halve(False)
        self._recover()
        raise OutOfMemory(
            f"the GPU has too little memory, also for batches of half the size ({reason}): lower batch_tokens and "
            "batch_size of the model",
            attempts=2,
        )

    def _make(self, task: ShardTask, meter: Meter) -> list[ShardReport]:
        try:
            return self._make_stage(task, meter)
        except (OSError, sqlite3.OperationalError) as error:
            # Such as a full disk: stages keep what does not fit into memory in files.
            raise ShardError(f"making {task.key} failed: {error}; fix this and run the same command again") from error

    def _make_stage(self, task: ShardTask, meter: Meter) -> list[ShardReport]:
        if task.key.stage_key == SLICE:
            return self._make_slice(task, meter)
        if task.key.stage == "passage":
            return self._make_passages(task, meter)
        if task.key.stage == "curated":
            return self._make_curated(task, meter)
        if task.key.stage == "embedded":
            return self._make_embedded(task, meter)
        return self._make_asked(task, meter)

    def stage_task(self, key: ShardKey) -> StageTask:
        """What the stage of a shard does, for the stages that ask a model."""
        from x_instruction.refine import needs_model, refine

        if key.stage == "candidate":
            return self._writing(key)
        settings = rating(self.run, self.recipe, key.round, key.language)
        candidates = key.at(StageKey("candidate", key.round))

        def records(engine: Engine, ask: Ask, ask_parts: AskParts) -> Iterator[Iterable[Passage | Dropped]]:
            written = blocks.Aligned(cast(Iterator[Candidate], self.run.read(candidates)), candidates)
            for passages in blocks.split(self.run.read(key.at(PASSAGE))):
                yield _called(refine, written.of(passages), settings, engine, ask)
            written.end()

        model = settings.rater_model if needs_model(settings) else None
        return StageTask(model, self.run.report(candidates).kept, self._blocks(key), records)

    def _writing(self, key: ShardKey) -> StageTask:
        """Write for all passages, or in a later round for the passages of which no pair was kept."""
        from x_instruction.generate import generate

        settings = writing(self.run, self.recipe, key.round, key.language)
        rows = self.run.report(key.at(PASSAGE)).kept
        written, rated = (key.at(StageKey(stage, max(0, key.round - 1))) for stage in ("candidate", "rated"))
        if key.round:
            rows += self.run.report(written).kept - len(set(self.run.columns(rated, ["id"])["id"].to_pylist()))

        def records(engine: Engine, ask: Ask, ask_parts: AskParts) -> Iterator[Iterable[Passage | Dropped]]:
            earlier = blocks.Aligned(
                cast(Iterator[Candidate], self.run.read(written) if key.round else iter(())), written
            )
            kept = blocks.Aligned(self.run.read(rated) if key.round else iter(()), rated)
            for passages in blocks.split(self.run.read(key.at(PASSAGE))):
                before, ids = earlier.of(passages), {record.id for record in kept.of(passages)}
                left = [passage for passage in passages if passage.id not in ids]
                # Earlier candidates are rated again, by the new rater.
                new = _called(generate, left, settings, engine, ask, self.recipe.seed, key.round, before, ask_parts)
                yield chain(before, new)
            earlier.end()
            kept.end()

        return StageTask(settings.model, rows, self._blocks(key), records)

    def _blocks(self, key: ShardKey) -> int:
        return -(-self.run.report(key.at(PASSAGE)).kept // blocks.PASSAGES)

    def engine(self, model: Model) -> Engine:
        """The engine of a model, loaded once. An earlier engine is freed first, since a GPU may not hold two models."""
        if self._engine is None or self._engine[0] != model:
            self._engine = None
            engine = open_engine(model)
            if self.run.is_preview and hasattr(engine, "shrinks"):
                engine.shrinks = True
            self._engine = model, engine
        return self._engine[1]

    def _recover(self) -> None:
        """Get ready for the next attempt after a GPU had too little memory."""
        engine: Any = self._engine and self._engine[1]
        if hasattr(engine, "close"):
            # vLLM does not work any more after this error. It loads the model again.
            engine.close()
        release()

    def _halve(self, halved: bool) -> None:
        """Let the models that are loaded work in batches of half the size, or of their own again."""
        self._halved = halved
        for model in (self._engine and self._engine[1], self._embedder):
            if isinstance(model, HalvesBatches):
                model.halved = halved

    @contextmanager
    def request_cache(self, key: ShardKey, model: Model) -> Iterator[RequestCache]:
        """The request cache of a shard."""
        budget = Budget(self.limit, self.spent, model)
        preview = self.run.preview_cache(key)
        engine, settings = self.engine(model), fingerprint(model)
        with (
            local_cache(self.run, key, self.scratch) as path,
            RequestCache(path, engine, settings, budget=budget, preview=preview) as cache,
        ):
            yield cache

    def _make_slice(self, task: ShardTask, meter: Meter) -> list[ShardReport]:
        from x_instruction.corpus.screen import Screen
        from x_instruction.corpus.slices import slice_records
        from x_instruction.corpus.sources import Start, Tally

        corpus, tag = self.recipe.corpus, task.key.language
        if self._screen is None or self._screen[0] != tag:
            self._screen = tag, Screen(corpus, language(tag))
        started, tally = time.monotonic(), Tally()

        def finish(report: ShardReport) -> None:
            report.rows_in = tally.documents
            report.seconds = time.monotonic() - started

        start = Start(*task.settings["start"])
        records = slice_records(
            corpus, language(tag), self._screen[1], start, tally, lambda rows: meter.progress(rows, corpus.slice_rows)
        )
        report = self.run.write(ShardReport(task.key, task.settings), meter.counted(records), finish)
        meter.progress(tally.rows, tally.rows)
        return [report]

    def _made_slices(self, task: ShardTask) -> tuple[list[MadeSlice], Start | None]:
        """The slices of a language that were made for its passages, and the row of its corpus after them."""
        from x_instruction.corpus.slices import MadeSlice
        from x_instruction.corpus.sources import BEGINNING, starts

        tag, made = task.key.language, list[MadeSlice]()
        settings = corpus_digest(task.settings)
        complete = self.run.listing(SLICE, tag).complete
        while len(made) in complete:
            key = SLICE.shard(tag, len(made))
            report = self.run.report(key)
            if report.settings["corpus"] != settings:
                break
            kept = cast(Callable[[], Iterator[Screened]], partial(self.run.read, key))
            made.append(MadeSlice(report.rows_in, report.dropped, kept, partial(self.run.dropped, key)))
        if not made:
            return [], BEGINNING
        if self.run.count(SLICE, tag) == len(made):
            return made, None
        return made, next(islice(starts(self.recipe.corpus, language(tag)), len(made), None), None)

    def _make_passages(self, task: ShardTask, meter: Meter) -> list[ShardReport]:
        from x_instruction.corpus.stage import passages

        tag = task.key.language
        # A top-up draws in steps, so the task says how many passages there are.
        most = task.settings.get("corpus.passages", self.recipe.corpus.passages)
        corpus = self.recipe.corpus.replace(passages=most)
        read = 0

        def count(documents: int) -> None:
            nonlocal read
            read = documents
            meter.progress(documents, 0)

        reports: list[ShardReport] = []
        # For what does not fit into memory, such as the index of near duplicates.
        with scratch_folder(self.run, tag, self.scratch) as scratch:
            records = meter.counted(passages(corpus, language(tag), scratch, count, *self._made_slices(task)))
            head = list(islice(records, 1))
            # The first shard is made even of nothing, so that a language without passages is complete, too.
            while head or not reports:
                started = time.monotonic()
                report = ShardReport(PASSAGE.shard(tag, len(reports)), task.settings)
                size = shard_size(corpus, len(reports))
                kept = sum(report.kept for report in reports)
                # The last shard takes what is dropped after its last passage, so that there is none without passages.
                last = corpus.passages is not None and kept + size >= corpus.passages
                block = _block(chain(head, records), None if last else size)

                def finish(report: ShardReport, started: float = started) -> None:
                    report.rows_in = report.kept + sum(report.dropped.values())
                    report.seconds = time.monotonic() - started

                reports.append(self.run.write(report, block, finish))
                head = list(islice(records, 1))
        self.run.finish(PASSAGE, tag, len(reports))
        meter.progress(read, read)
        return reports

    def _make_curated(self, task: ShardTask, meter: Meter) -> list[ShardReport]:
        from x_instruction.diversify import embed, select
        from x_instruction.diversify.rated_rows import COLUMNS, RatedRows

        tag, settings = task.key.language, self.recipe.diversify
        rated = StageKey("rated", last_round(self.run, self.recipe))
        shards = RatedShards(self.run, self.run.shards(rated, tag), COLUMNS)
        started = time.monotonic()
        rows = RatedRows(shards.table)
        report = ShardReport(task.key, task.settings, rows_in=len(rows))

        def finish(report: ShardReport) -> None:
            report.seconds = time.monotonic() - started

        folder = self.run.root / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        # The file has no name, so a killed worker leaves nothing.
        with tempfile.TemporaryFile(dir=folder) as file:
            if "diversify.embedded" in task.settings:
                files = located(embedder_name(settings.embedder), settings.revision)
                encoder = files.name, files.revision
                embeddings = shards.embeddings(rows.source[rows.kept], file)
            else:
                encoder = self._embed().model, self._embed().revision
                instructions = list(rows.texts("instruction", rows.kept))
                embeddings = embed(instructions, self._embed(), lambda n: meter.progress(n, len(rows)))
            curated = select(rows, tag, embeddings, settings, self.recipe.seed, encoder, shards.records)
            self.run.write(report, meter.counted(curated), finish)
        meter.progress(len(rows), len(rows))
        return [report]

    def _make_embedded(self, task: ShardTask, meter: Meter) -> list[ShardReport]:
        """Embed the instructions of a rated shard. Batches follow from the shard, so any worker makes equal bytes."""
        from x_instruction.diversify import embed

        key = task.key.at(StageKey("rated", last_round(self.run, self.recipe)))
        rows = self.run.columns(key, ("id", "candidate", "instruction")).to_pydict()
        started = time.monotonic()
        report = ShardReport(task.key, task.settings, rows_in=len(rows["id"]))
        vectors = embed(rows["instruction"], self._embed(), lambda n: meter.progress(n, report.rows_in))
        embedded = (
            Embedded(id=id, candidate=candidate, vector=vector.astype("<f4").tobytes())
            for id, candidate, vector in zip(rows["id"], rows["candidate"], vectors, strict=True)
        )

        def finish(report: ShardReport) -> None:
            report.seconds = time.monotonic() - started

        self.run.write(report, meter.counted(embedded), finish)
        meter.progress(report.rows_in, report.rows_in)
        return [report]

    def _make_asked(self, task: ShardTask, meter: Meter) -> list[ShardReport]:
        """Make a shard of a stage that asks a model. Its answers are kept in the request cache of the shard."""
        stage = self.stage_task(task.key)
        report = ShardReport(task.key, task.settings, rows_in=stage.rows)
        model = stage.model
        if model is None:
            from x_instruction.refine.null_rater import NullEngine

            records = chain.from_iterable(stage.records(NullEngine(), _unasked, in_parts(_unasked)))
            self.run.write(report, meter.counted(records))
            meter.progress(stage.rows, stage.rows)
            return [report]
        with self.request_cache(task.key, model) as cache:
            begun = 0

            def counted(parts: Iterator[Iterable[Passage | Dropped]]) -> Iterator[Iterable[Passage | Dropped]]:
                nonlocal begun
                for part in parts:
                    begun += 1
                    yield part

            def on_progress(done: int, asked: int) -> None:
                # The other blocks ask for about as much.
                meter.progress(done, asked * stage.blocks // begun if begun else asked, cache.tokens)

            cache.on_progress = on_progress
            if isinstance(cache.engine, ReportsTokens):
                cache.engine.on_tokens = meter.generating

            def finish(report: ShardReport) -> None:
                report.requests = cache.answered
                for name, value in cache.totals().items():
                    setattr(report, name, value)
                report.halved_batches = self._halved
                report.cost = cost(model, report.prompt_tokens, report.output_tokens)

            records = chain.from_iterable(counted(stage.records(cache.engine, cache.ask, cache.ask_parts)))
            self.run.write(report, meter.counted(records), finish)
        return [report]

    def _embed(self) -> Any:
        if self._embedder is None:
            from x_instruction.engines.local.embedder import Embedder

            settings = self.recipe.diversify
            self._embedder = Embedder(
                settings.embedder, settings.revision, threads=settings.threads, batch_size=settings.batch_size
            )
        return self._embedder


def _called(make: Callable[..., Iterable[Passage | Dropped]], *arguments: Any) -> Iterator[Passage | Dropped]:
    """What a function returns, called when the first record is taken."""
    yield from make(*arguments)


def _unasked(requests: Sequence[Request]) -> list[Result]:
    """No results: the stage asks no model."""
    assert not requests
    return []


def corpus_digest(settings: Mapping[str, Any]) -> str:
    """What decides the slices of a corpus: the settings of its passages, but not how many of them are kept."""
    return digest({key: value for key, value in settings.items() if key != "corpus.passages"})


def _block(records: Iterable[Passage | Dropped], kept: int | None) -> Iterator[Passage | Dropped]:
    """Records up to and including the last one of a shard.

    Args:
        kept: number of records in a shard, without the dropped ones; None for all that are left.
    """
    for record in records:
        yield record
        if kept is not None and not isinstance(record, Dropped):
            kept -= 1
            if kept == 0:
                return
