"""What a run of any size takes: the work of each stage and language, and how it spreads over workers.

Stages follow one another, as in ``pipeline.execute``: a stage begins when the one before is complete in all languages.
Within a stage, workers share the shards of all languages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from x_instruction.config.recipe import Recipe
from x_instruction.config.training import TrainConfig
from x_instruction.corpus.shard_sizes import shard_count
from x_instruction.pipeline.executors.devices import span
from x_instruction.pipeline.planner.measured import Measured, clustering
from x_instruction.pipeline.rates import ASKED, Work
from x_instruction.pipeline.rounds import ROLES, model_of, stages, title, training_for
from x_instruction.storage.shard_key import StageKey

# On one core each. Rows that ``build`` writes and reads back in a second: docs/benchmarks.md, "What `build` takes".
BUILT = 23_000.0
# Seconds for a passage in the task that removes the duplicates of a language, whose slices are screened.
MERGED = 3.7e-5
# Seconds for a row with ``sampled-kmeans``, and bytes of memory for a rated row of a language while its pairs are
# selected, with it and with other selectors: docs/benchmarks.md, "Diversify at scale".
SAMPLED = 7.2e-5
SAMPLED_BYTES, RATED_BYTES = 2_550, 5_750
# Bytes of an embedded row: 384 numbers and an id.
EMBEDDED_BYTES = 1_600
# Bytes of a second that an upload is assumed to have.
UPLOADED = 25e6
# A training reads each token forwards, and goes back with twice that work.
_FORWARD_AND_BACK = 3
# Files of a shard: records, dropped rows and report. Stages that ask a model also have a request cache.
_FILES = 3


@dataclass(frozen=True, slots=True)
class Machines:
    """What a run would be made with.

    Args:
        gpus: GPUs; 0 if models run on CPUs or servers.
        workers: processes.
        writing, rating: tokens of prompts and answers per second of one GPU; None for the speed of the sample.
        price: of a GPU for an hour.
    """

    gpus: int = 0
    workers: int = 1
    writing: float | None = None
    rating: float | None = None
    price: float = 0.0

    def speed(self, stage: StageKey) -> float | None:
        """Tokens per second of one GPU at a stage that asks a model."""
        return self.writing if stage.stage == "candidate" else self.rating


@dataclass(frozen=True, slots=True)
class Part:
    """One stage in one language.

    Args:
        stage: its title, such as ``generate, round 1``.
        language: tag; empty for what all languages share.
        passages: that go in.
        rows: that come out.
        requests, tokens: asked of a model.
        seconds: of one worker.
        longest: seconds of the longest task, which cannot be divided.
        tasks: that workers can share.
        workers: processes, or GPUs, that can share them.
        gpu: whether they need GPUs.
        cost: by the prices of the recipe.
        shards: of the stage.
        stored, cached: bytes of shards and of request caches.
        memory: bytes of the largest task, besides the model.
    """

    stage: str
    language: str
    passages: float = 0.0
    rows: float = 0.0
    requests: int = 0
    tokens: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    tasks: int = 1
    workers: int = 1
    gpu: bool = False
    cost: float = 0.0
    shards: int = 0
    stored: float = 0.0
    cached: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage in all languages.

    Args:
        parts: of each language.
    """

    title: str
    parts: tuple[Part, ...]

    @property
    def seconds(self) -> float:
        """Work of all languages, for one worker."""
        return sum(part.seconds for part in self.parts)

    @property
    def tasks(self) -> int:
        """Tasks of all languages."""
        return sum(part.tasks for part in self.parts)

    @property
    def busy(self) -> int:
        """Workers that have something to do."""
        return max(1, min(self.parts[0].workers, self.tasks))

    @property
    def wall(self) -> float:
        """Seconds until all languages are complete."""
        return max(self.seconds / self.busy, max(part.longest for part in self.parts))

    @property
    def slowest(self) -> Part:
        """The language with the longest task."""
        return max(self.parts, key=lambda part: (part.longest, part.seconds))

    @property
    def limit(self) -> str:
        """What would make the stage faster: more of this."""
        if len(self.parts) < self.tasks < self.parts[0].workers:
            return f"{self.tasks:,} shards"
        if self.slowest.longest * self.busy > self.seconds or self.tasks < self.parts[0].workers:
            return f"one process for {self.slowest.language}" if self.slowest.language else "one process"
        kind = "GPU" if self.parts[0].gpu else "worker"
        return f"{self.busy:,} {kind}{'s' if self.busy != 1 else ''}"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run takes.

    Args:
        passages: of all languages.
        stages: in the order in which they are made.
        error: half width of the 95 % interval of times and costs, as a share of them.
        machines: that it is made with.
        startup: seconds until models are loaded.
    """

    passages: int
    stages: tuple[Stage, ...]
    error: float
    machines: Machines
    startup: float = 0.0

    @property
    def wall(self) -> float:
        """Seconds from the first stage to the last."""
        return self.startup + sum(stage.wall for stage in self.stages)

    @property
    def bottleneck(self) -> Stage:
        """The stage that takes longest."""
        return max(self.stages, key=lambda stage: stage.wall)

    @property
    def gpu_seconds(self) -> float:
        """Seconds for which GPUs are held, over all of them, if they are only held for stages that need them."""
        gpus = self.machines.gpus
        return sum(stage.wall * gpus for stage in self.stages if stage.parts[0].gpu)

    @property
    def cost(self) -> float:
        """Price of tokens and of GPUs."""
        tokens = sum(part.cost for part in self.parts())
        return tokens + self.gpu_seconds / 3600 * self.machines.price

    @property
    def files(self) -> int:
        """Files of the run folder."""
        return sum(part.shards * (_FILES + bool(part.cached)) for part in self.parts())

    @property
    def shards(self) -> int:
        """Shards of all stages."""
        return sum(part.shards for part in self.parts())

    @property
    def stored(self) -> float:
        """Bytes of the run folder."""
        return sum(part.stored + part.cached for part in self.parts())

    def parts(self, language: str = "") -> Iterator[Part]:
        """All stages of all languages, or of one."""
        for stage in self.stages:
            yield from (part for part in stage.parts if language in ("", part.language))


def forecast(
    settings: Recipe, measured: Measured, machines: Machines, passages: Mapping[str, int], error: float = 0.0
) -> Forecast:
    """What a run of so many passages takes.

    Args:
        settings: the recipe.
        measured: what a small run measured.
        machines: what the run would be made with.
        passages: that the corpus stage keeps, by language.
        error: half width of the 95 % interval of the passages, as a share of them.
    """
    maker = _Forecaster(settings, measured, machines, passages)
    found = tuple(maker.stages())
    return Forecast(sum(passages.values()), found, math.hypot(measured.rates.error, error), machines, measured.startup)


class _Forecaster:
    """Forecasts one stage after the other."""

    def __init__(self, settings: Recipe, measured: Measured, machines: Machines, passages: Mapping[str, int]) -> None:
        self.recipe = settings
        self.measured = measured
        self.machines = machines
        self.passages = passages

    def stages(self) -> Iterator[Stage]:
        """Every stage, with the training before it."""
        makers: dict[str, Callable[[StageKey, str], Part]] = {
            "passage": self._corpus,
            "candidate": self._asked,
            "rated": self._asked,
            "embedded": self._embedding,
            "curated": self._selection,
        }
        for stage in stages(self.recipe):
            if train := training_for(self.recipe, stage):
                yield self._training(train, stage)
            if stage.stage == "embedded" and not any(map(self._embeds_shards, self.passages)):
                continue
            yield Stage(title(stage), tuple(makers[stage.stage](stage, tag) for tag in self.passages))
            if stage.stage == "passage" and self._sliced:
                yield Stage("duplicates", tuple(map(self._merge, self.passages)))
        yield Stage("build", tuple(map(self._build, self.passages)))
        yield Stage("upload", (self._upload(),))

    @property
    def _sliced(self) -> bool:
        """Whether workers share the corpus of a language (``pipeline.slices``)."""
        return self.recipe.corpus.source == "files" and max(self.passages.values()) > self.recipe.corpus.slice_rows

    def _corpus(self, stage: StageKey, tag: str) -> Part:
        passages = self.passages[tag]
        seconds, tasks = self.measured.seconds_to_read(tag) * passages, 1
        if self._sliced:
            seconds = max(0.0, seconds - MERGED * passages)
            tasks = max(1, math.ceil(passages / self.recipe.corpus.slice_rows))
        return Part(
            title(stage),
            tag,
            passages,
            passages,
            seconds=seconds,
            longest=seconds / tasks,
            tasks=tasks,
            workers=self.machines.workers,
            shards=self._shards(tag),
            stored=passages * self.measured.row_bytes["passage"],
        )

    def _merge(self, tag: str) -> Part:
        """One task per language removes duplicates, once all slices are screened."""
        passages = self.passages[tag]
        seconds = MERGED * passages
        workers = self.machines.workers
        return Part("duplicates", tag, passages, passages, seconds=seconds, longest=seconds, workers=workers)

    def _asked(self, stage: StageKey, tag: str) -> Part:
        """Writing or rating. In later rounds, passages without a kept pair are written for; all are rated again."""
        passages, per = self.passages[tag], self.measured.rates.of(stage, tag)
        written = passages * self._without_pair(tag) ** stage.round
        tasks = self._shards(tag)
        if stage.stage == "candidate":
            asked, rows = written, per.kept * self._written(tag, stage.round)
        else:
            asked = self._written(tag, stage.round)
            rows = self._kept(tag, stage.round)
        work = self.measured.rates.work(stage, tag, asked)
        seconds = self._seconds(stage, work)
        return Part(
            title(stage),
            tag,
            asked,
            rows,
            work.requests,
            work.prompt_tokens + work.output_tokens,
            seconds,
            seconds / tasks,
            tasks,
            self._models(),
            self.machines.gpus > 0 and model_of(self.recipe, stage) is not None,
            work.cost,
            tasks,
            rows * self.measured.row_bytes[stage.stage],
            work.requests * self.measured.answer_bytes,
        )

    def _embeds_shards(self, tag: str) -> bool:
        return self._rated(tag) > self.recipe.diversify.embed_shards_above

    def _embedding(self, stage: StageKey, tag: str) -> Part:
        """All workers embed the rated shards of large languages."""
        if not self._embeds_shards(tag):
            return Part(title(stage), tag, workers=self.machines.workers)
        rated, tasks = self._rated(tag), self._shards(tag)
        seconds = rated * self.measured.embedding
        return Part(
            title(stage),
            tag,
            rated,
            rated,
            seconds=seconds,
            longest=seconds / tasks,
            tasks=tasks,
            workers=self.machines.workers,
            shards=tasks,
            stored=rated * EMBEDDED_BYTES,
        )

    def _selection(self, stage: StageKey, tag: str) -> Part:
        rated, rows = self._rated(tag), self._curated(tag)
        sampled = self.recipe.diversify.selector == "sampled-kmeans"
        seconds = SAMPLED * rated if sampled else clustering(rated)
        seconds += 0.0 if self._embeds_shards(tag) else rated * self.measured.embedding
        return Part(
            title(stage),
            tag,
            rated,
            rows,
            seconds=seconds,
            longest=seconds,
            workers=self.machines.workers,
            shards=1,
            stored=rows * self.measured.row_bytes["curated"],
            memory=rated * (SAMPLED_BYTES if sampled else RATED_BYTES),
        )

    def _training(self, train: TrainConfig, stage: StageKey) -> Stage:
        """Training is limited by the seeds, and does not grow with the corpus."""
        role, tags = ROLES[stage.stage], list(self.passages)
        kept = self.recipe.refine.kept_per_seed if stage.round else 0.0
        rows = self.recipe.seeds.count * len(tags) * (1 + kept)
        rows = train.steps * train.batch_size if train.steps else rows * train.epochs
        if role in self.measured.training:
            seconds = self.measured.training[role] * rows
        else:
            work = self.measured.rates.work(stage, tags[0], 1_000)
            per_request = self._seconds(stage, work) / max(1, work.requests)
            seconds = _FORWARD_AND_BACK * per_request * rows
        gpus = self.machines.gpus
        part = Part(
            f"train {role}" + (f", round {stage.round}" if stage.round else ""),
            "",
            rows=rows,
            seconds=seconds,
            longest=seconds / max(1, gpus),
            tasks=max(1, gpus),
            workers=max(1, gpus),
            gpu=gpus > 0,
        )
        return Stage(part.stage, (part,))

    def _build(self, tag: str) -> Part:
        rows = self._curated(tag)
        seconds = rows / BUILT
        # One process builds all languages.
        return Part("build", tag, rows, rows, seconds=seconds, longest=seconds)

    def _upload(self) -> Part:
        rows = sum(map(self._curated, self.passages))
        seconds = rows * self.measured.row_bytes["curated"] / UPLOADED
        return Part("upload", "", rows, rows, seconds=seconds, longest=seconds)

    def _rated(self, tag: str) -> float:
        """Pairs of a language that the last round keeps."""
        return self._kept(tag, self.recipe.refine.rounds)

    def _curated(self, tag: str) -> float:
        """Pairs of a language that are selected of them."""
        return min(self._rated(tag), self.recipe.diversify.quota)

    def _kept(self, tag: str, round: int) -> float:
        """Pairs that rounds up to this one keep. Each finds as large a share of the passages that are left."""
        left = sum(self._without_pair(tag) ** earlier for earlier in range(round + 1))
        return self.passages[tag] * self.measured.rates.of(ASKED[1], tag).kept * left

    def _without_pair(self, tag: str) -> float:
        """The share of passages of which a round keeps no pair."""
        return max(0.0, 1 - self.measured.rates.of(ASKED[1], tag).kept / self.recipe.refine.keep)

    def _written(self, tag: str, round: int) -> float:
        """Passages that rounds up to this one write for, each as often as it is written for."""
        share = self._without_pair(tag)
        return self.passages[tag] * sum(share**earlier for earlier in range(round + 1))

    def _seconds(self, stage: StageKey, work: Work) -> float:
        """Seconds of one worker: by the tokens that a GPU of the plan reads and writes, or as in the sample."""
        speed = self.machines.speed(stage)
        if speed is None or model_of(self.recipe, stage) is None:
            return work.seconds
        return (work.prompt_tokens + work.output_tokens) / (speed * span(self.recipe))

    def _models(self) -> int:
        """Workers that ask models at the same time."""
        if self.machines.gpus:
            return max(1, self.machines.gpus // span(self.recipe))
        return self.machines.workers

    def _shards(self, tag: str) -> int:
        return shard_count(self.recipe.corpus, self.passages[tag])


def equal_parts(total: int, languages: Sequence[str]) -> dict[str, int]:
    """So many passages, spread over languages."""
    return {tag: total // len(languages) + (number < total % len(languages)) for number, tag in enumerate(languages)}
