"""What a run is expected to take: from a sample of its corpus and the requests of its preview."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.engines import engine_spec
from x_instruction.engines.budget import cost
from x_instruction.engines.request_cache import answer_tokens
from x_instruction.languages import language
from x_instruction.pipeline.costs import priced
from x_instruction.pipeline.progress import duration
from x_instruction.pipeline.rounds import model_of
from x_instruction.pipeline.status import money
from x_instruction.records import Dropped
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, PASSAGE, StageKey

# Documents of a language that are read at most, and seconds for all languages.
_DOCUMENTS = 200
_LEAST_DOCUMENTS = 20
_SECONDS = 4.0
# 97.5 % quantiles of Student's t distribution, by degrees of freedom.
_T = {1: 12.7, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31}
# What the batches of a run take longer per passage than those of a preview, whose complete rows leave: measured on the
# demo with ``benchmarks/preview.py``.
_STATIC_BATCHES = 1.2
_ASKED = (StageKey("candidate"), StageKey("rated"))

# Figures of a language whose corpus has no known size.
_UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("passages", "requests", "prompt_tokens", "output_tokens", "seconds", "cost", "error")
)

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class CorpusSample:
    """The beginning of a corpus in one language.

    Args:
        documents: rows of the whole corpus; None if only reading all of it would tell.
        counted: whether that number is exact. Otherwise it is estimated from the size of the files.
        kept: passages that were kept of each document that was read.
        dropped: rows that were dropped, by reason.
        seconds: of reading.
    """

    documents: int | None
    counted: bool
    kept: tuple[int, ...]
    dropped: dict[str, int]
    seconds: float


@dataclass(slots=True)
class Startup:
    """What a run takes whatever its size.

    Args:
        seconds: until workers have loaded their models, over all stages.
        memory: bytes of the largest worker.
    """

    seconds: float = 0.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """What a model of the recipe needs.

    Args:
        name: as the recipe names it, with its adapter.
        engine: that runs it.
        size: bytes of its weights; None for a model on a server.
        where: address of the server, or empty.
    """

    name: str
    engine: str
    size: int | None
    where: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What one language is expected to take.

    Args:
        documents: of the corpus; None when only reading all of it would tell.
        counted: whether they were counted; otherwise their number is an estimate.
        read: documents that the sample read, of which ``kept`` passages passed the filters.
        dropped: what the filters dropped of them, by reason.
        passages: that the run keeps of the corpus.
        seconds: of one worker, all stages.
        cost: by the recipe's prices.
        error: half width of the 95 % interval of requests, tokens, time and cost, as a share of them.
    """

    language: str
    documents: int | None
    counted: bool
    read: int
    kept: int
    dropped: dict[str, int]
    passages: int | None
    requests: int | None
    prompt_tokens: int | None
    output_tokens: int | None
    seconds: float | None
    cost: float | None
    error: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take.

    Args:
        languages: one entry per language of the recipe.
        workers: processes that would work.
        seconds: of the whole run, with these workers.
        memory: bytes of the largest worker of the preview.
        models: what the models need.
        priced: whether the recipe has prices.
        trains: whether the run also trains models, which is not part of the estimate.
    """

    languages: tuple[Expected, ...]
    workers: int
    seconds: float
    memory: int
    models: tuple[ModelNeeds, ...]
    priced: bool
    trains: bool

    def rows(self) -> list[dict[str, Any]]:
        """A table with a row per language."""
        return [asdict(expected) for expected in self.languages]

    @property
    def error(self) -> float:
        """Half width of the 95 % interval of the sums, as a share of them."""
        known = [expected for expected in self.languages if expected.error is not None and expected.seconds]
        total = sum(expected.seconds or 0.0 for expected in known)
        # The languages share the passages of the preview, so their errors add up.
        return sum((expected.error or 0.0) * (expected.seconds or 0.0) for expected in known) / total if total else 0.0

    def interval(self, figure: float) -> Interval:
        """The 95 % interval of a sum, symmetric in the logarithm: time and cost are never zero."""
        return figure / (1 + self.error), figure * (1 + self.error)

    @property
    def cost(self) -> float:
        """The cost of all languages, at the prices of the recipe."""
        return sum(expected.cost or 0.0 for expected in self.languages)

    def summary(self) -> str:
        """The time of all languages together, and the cost, as one line."""
        low, high = map(duration, self.interval(self.seconds))
        workers = f"{self.workers} worker{'s' if self.workers != 1 else ''}"
        text = f"about {duration(self.seconds)} ({low} to {high}) with {workers}"
        if self.priced:
            low, high = map(money, self.interval(self.cost))
            text += f", {money(self.cost)} ({low} to {high}) to pay"
        if any(expected.seconds is None for expected in self.languages):
            text += "; languages without figures have no known size: bound them with --limit"
        return text + ("; training and rounds are not included" if self.trains else "")


def measure_corpus(settings: Recipe) -> dict[str, CorpusSample]:
    """The corpus of each language, from its first documents.

    Raises:
        CorpusError: a corpus cannot be read.
    """
    found: dict[str, CorpusSample] = {}
    documents = _DOCUMENTS
    for left, tag in zip(range(len(settings.languages), 0, -1), settings.languages, strict=True):
        found[tag] = _sample(settings, tag, documents, _SECONDS / len(settings.languages))
        spent = sum(sample.seconds for sample in found.values())
        read = max(1, len(found[tag].kept))
        affordable = (_SECONDS - spent) / max(1, left - 1) / max(1e-6, found[tag].seconds / read)
        documents = round(min(_DOCUMENTS, max(_LEAST_DOCUMENTS, affordable)))
    return found


def _sample(settings: Recipe, tag: str, documents: int, seconds: float) -> CorpusSample:
    from x_instruction.corpus.sources import measure
    from x_instruction.corpus.stage import passages

    most = min(settings.corpus.documents or documents, documents)
    corpus = settings.corpus.replace(documents=most, passages=None)
    started, read = time.monotonic(), 0
    kept: Counter[str] = Counter()
    reasons: Counter[str] = Counter()

    def seen(number: int) -> None:
        nonlocal read
        read = number

    with tempfile.TemporaryDirectory() as folder:
        for record in passages(corpus, language(tag), Path(folder), seen):
            if isinstance(record, Dropped):
                reasons[record.reason] += 1
            else:
                kept[record.document_id] += 1
    elapsed = time.monotonic() - started
    size = measure(settings.corpus, language(tag), seconds)
    counts = [*kept.values(), *[0] * max(0, read - len(kept))]
    return CorpusSample(size.documents, size.counted, tuple(counts), dict(reasons.most_common()), elapsed)


def estimate(
    settings: Recipe,
    run: RunFolder,
    previewed: Sequence[str],
    workers: int,
    corpus: dict[str, CorpusSample],
    startup: Startup,
) -> Estimate:
    """The estimate of a run.

    Args:
        settings: the recipe.
        run: the folder of the preview.
        previewed: languages that the preview made.
        workers: processes that would work.
        corpus: the sample of each language.
        startup: what the preview took to start.
    """
    asked = _Asked(settings, run, previewed)
    languages = tuple(_expected(settings, tag, corpus[tag], asked) for tag in settings.languages)
    seconds = [expected.seconds or 0.0 for expected in languages]
    return Estimate(
        languages=languages,
        workers=workers,
        # A language is worked on by one worker at a time, so more workers than languages do not help.
        seconds=startup.seconds + max(sum(seconds) / max(1, workers), max(seconds, default=0.0)),
        memory=startup.memory,
        models=tuple(dict.fromkeys(map(_needs, settings.models))),
        priced=priced(settings),
        trains=any(section.train for section in (settings.generate, settings.refine)),
    )


@dataclass(frozen=True, slots=True)
class _PerPassage:
    """What the requests for one passage take, at one stage."""

    requests: float
    prompt_tokens: float
    output_tokens: float
    seconds: float


class _Asked:
    """What the preview asked for a passage, by language.

    Args:
        settings: the recipe.
        run: the folder of the preview.
        previewed: languages that the preview made.
    """

    def __init__(self, settings: Recipe, run: RunFolder, previewed: Sequence[str]) -> None:
        self.recipe = settings
        self.passages = {tag: run.report(PASSAGE.shard(tag)).kept for tag in previewed}
        self.by_language = {
            (stage, tag): self._per_passage(run, stage, tag)
            for stage in _ASKED
            for tag, passages in self.passages.items()
            if passages
        }
        self.curating = max((run.report(CURATED.shard(tag)).seconds for tag in previewed), default=0.0)
        self.error = self._error(run)

    def of(self, stage: StageKey, tag: str) -> _PerPassage:
        """For a language that was not previewed, the mean of the others."""
        if (stage, tag) in self.by_language:
            return self.by_language[stage, tag]
        others = [found for (made_at, _), found in self.by_language.items() if made_at == stage]
        mean = {
            name: statistics.fmean(getattr(found, name) for found in others) if others else 0.0
            for name in _PerPassage.__dataclass_fields__
        }
        return _PerPassage(**mean)

    def _per_passage(self, run: RunFolder, stage: StageKey, tag: str) -> _PerPassage:
        report, passages = run.report(stage.shard(tag)), self.passages[tag]
        model = model_of(self.recipe, stage)
        # A server answers many requests at once: what counts is how long it is busy for each.
        factor = 1.0 if model is None else _at_once(model, report.requests)
        if model is not None and model.engine == "transformers":
            factor = _STATIC_BATCHES
        return _PerPassage(
            report.requests / passages,
            report.prompt_tokens / passages,
            report.output_tokens / passages,
            report.seconds * factor / passages,
        )

    def _error(self, run: RunFolder) -> float:
        """Relative half width of the 95 % interval of what a passage takes: its length, and candidates to rate."""
        passages = sum(self.passages.values())
        if passages < 2:
            return 1.0
        lengths: list[float] = []
        kept: list[int] = []
        for tag, number in self.passages.items():
            tokens = [sum(pair) for pair in answer_tokens(run.cache(_ASKED[0].shard(tag)))]
            # Languages differ in tokens per passage, which is known for each of them.
            lengths += [count / statistics.fmean(tokens) for count in tokens]
            counts = Counter(record.id for record in run.read(_ASKED[0].shard(tag)))
            kept += [*counts.values(), *[0] * (number - len(counts))]
        # Requests of one passage are not independent, so each passage counts once.
        scale = _T.get(passages - 1, 1.96) / math.sqrt(passages)
        return scale * math.hypot(_spread(lengths), self._rated_share() * _spread(kept))

    def _rated_share(self) -> float:
        """The share of ratings in all tokens."""
        sums = {
            stage: sum(found.prompt_tokens for (made_at, _), found in self.by_language.items() if made_at == stage)
            for stage in _ASKED
        }
        return sums[_ASKED[1]] / (sum(sums.values()) or 1.0)


def _spread(values: Sequence[float]) -> float:
    """The standard deviation as a share of the mean."""
    mean = statistics.fmean(values) if values else 0.0
    return statistics.stdev(values) / mean if mean and len(values) > 1 else 0.0


def _expected(settings: Recipe, tag: str, sample: CorpusSample, asked: _Asked) -> Expected:
    limit, read, kept = settings.corpus.passages, len(sample.kept), sum(sample.kept)
    known: dict[str, Any] = {
        "language": tag,
        "documents": sample.documents,
        "counted": sample.counted,
        "read": read,
        "kept": kept,
        "dropped": sample.dropped,
    }
    found = None if sample.documents is None else sample.documents * kept / max(1, read)
    if found is None and limit is None:
        return Expected(**known, **_UNKNOWN)
    limited = limit is not None and (found is None or found >= limit)
    passages = limit if limit is not None and limited else round(found or 0.0)
    requests, prompt_tokens, output_tokens, seconds, money_spent = 0, 0, 0, asked.curating, 0.0
    for stage in _ASKED:
        per, model = asked.of(stage, tag), model_of(settings, stage)
        more = round(per.requests * passages)
        tokens = round(per.prompt_tokens * passages), round(per.output_tokens * passages)
        requests, prompt_tokens, output_tokens = requests + more, prompt_tokens + tokens[0], output_tokens + tokens[1]
        seconds += per.seconds * passages / (1 if model is None else _at_once(model, more))
        money_spent += 0.0 if model is None else cost(model, *tokens)
    documents = passages * read / max(1, kept)
    seconds += sample.seconds / max(1, read) * min(sample.documents or documents, documents)
    error = math.hypot(asked.error, 0.0 if limited else _yield_error(sample))
    return Expected(
        **known,
        passages=passages,
        requests=requests,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        seconds=seconds,
        cost=money_spent,
        error=error,
    )


def _yield_error(sample: CorpusSample) -> float:
    """Relative half width of the 95 % interval of passages per document; 0 if all documents were read."""
    read = len(sample.kept)
    if sample.counted and sample.documents is not None and read >= sample.documents:
        return 0.0
    if read < 2 or not sum(sample.kept):
        return 1.0
    left = 1 - min(1.0, read / (sample.documents or math.inf))
    return 1.96 * statistics.stdev(sample.kept) / statistics.fmean(sample.kept) * math.sqrt(left / read)


def _at_once(model: Model, requests: int) -> int:
    """Requests that are answered at the same time."""
    return max(1, min(requests, model.server.concurrency)) if engine_spec(model).remote else 1


def _needs(model: Model) -> ModelNeeds:
    from x_instruction.engines.models import locate

    name = " + ".join(filter(None, (model.name, model.adapter)))
    if engine_spec(model).remote:
        return ModelNeeds(name, model.engine, None, model.server.url)
    folders = [locate(model.name, model.revision).folder, *([locate(model.adapter).folder] if model.adapter else [])]
    size = sum(file.stat().st_size for folder in folders for file in folder.glob("*.safetensors"))
    return ModelNeeds(name, model.engine, size, "")
