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
from x_instruction.languages import language
from x_instruction.pipeline.costs import priced
from x_instruction.pipeline.progress import duration
from x_instruction.pipeline.rates import ASKED, Rates
from x_instruction.pipeline.status import money
from x_instruction.records import Dropped
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED

# Documents of a language that are read at most, and seconds for all languages.
_DOCUMENTS = 200
_LEAST_DOCUMENTS = 20
_SECONDS = 4.0

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
        startup: seconds of these until the first batch of documents was done: an identifier is loaded meanwhile.
        first: documents of that batch.
    """

    documents: int | None
    counted: bool
    kept: tuple[int, ...]
    dropped: dict[str, int]
    seconds: float
    startup: float = 0.0
    first: int = 0

    def passages(self, limit: int | None) -> tuple[int | None, float]:
        """Passages that a run keeps, and the relative half width of their 95 % interval.

        Args:
            limit: the most that it keeps; None for no limit.

        Returns:
            None for the passages where the corpus has no known size and no limit.
        """
        found = None if self.documents is None else self.documents * sum(self.kept) / max(1, len(self.kept))
        if found is None and limit is None:
            return None, 1.0
        if limit is not None and (found is None or found >= limit):
            return limit, 0.0
        return round(found or 0.0), _yield_error(self)

    @property
    def per_passage(self) -> float:
        """Seconds of one process for a passage that is kept, without loading the identifier."""
        later, read = len(self.kept) - self.first, max(1, len(self.kept))
        seconds = (self.seconds - self.startup) / later if later > 0 else self.seconds / read
        return seconds * read / max(1, sum(self.kept))

    def reading(self, passages: int) -> float:
        """Seconds of one process to read the documents that give so many passages."""
        return self.per_passage * passages + (self.startup if len(self.kept) > self.first else 0.0)


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


def measure_corpus(settings: Recipe, most: int = _DOCUMENTS) -> dict[str, CorpusSample]:
    """The corpus of each language, from its first documents.

    Args:
        settings: the recipe.
        most: documents of a language that are read at most.

    Raises:
        CorpusError: a corpus cannot be read.
    """
    found: dict[str, CorpusSample] = {}
    documents = most
    for left, tag in zip(range(len(settings.languages), 0, -1), settings.languages, strict=True):
        found[tag] = _sample(settings, tag, documents, _SECONDS / len(settings.languages))
        spent = sum(sample.seconds for sample in found.values())
        read = max(1, len(found[tag].kept))
        affordable = (_SECONDS - spent) / max(1, left - 1) / max(1e-6, found[tag].seconds / read)
        documents = round(min(most, max(_LEAST_DOCUMENTS, affordable)))
    return found


def _sample(settings: Recipe, tag: str, documents: int, seconds: float) -> CorpusSample:
    from x_instruction.corpus.sources import measure
    from x_instruction.corpus.stage import passages

    most = min(settings.corpus.documents or documents, documents)
    corpus = settings.corpus.replace(documents=most, passages=None)
    started, read = time.monotonic(), 0
    began: tuple[float, int] | None = None
    kept: Counter[str] = Counter()
    reasons: Counter[str] = Counter()

    def seen(number: int) -> None:
        nonlocal read, began
        read = number
        began = began or (time.monotonic() - started, number)

    with tempfile.TemporaryDirectory() as folder:
        for record in passages(corpus, language(tag), Path(folder), seen):
            if isinstance(record, Dropped):
                reasons[record.reason] += 1
            else:
                kept[record.document_id] += 1
    elapsed = time.monotonic() - started
    size = measure(settings.corpus, language(tag), seconds)
    counts = [*kept.values(), *[0] * max(0, read - len(kept))]
    startup, first = began or (elapsed, read)
    return CorpusSample(
        size.documents, size.counted, tuple(counts), dict(reasons.most_common()), elapsed, startup, first
    )


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
    rates = Rates(settings, run, previewed)
    curating = max((run.report(CURATED.shard(tag)).seconds for tag in previewed), default=0.0)
    languages = tuple(_expected(settings, tag, corpus[tag], rates, curating) for tag in settings.languages)
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


def _expected(settings: Recipe, tag: str, sample: CorpusSample, rates: Rates, curating: float) -> Expected:
    known: dict[str, Any] = {
        "language": tag,
        "documents": sample.documents,
        "counted": sample.counted,
        "read": len(sample.kept),
        "kept": sum(sample.kept),
        "dropped": sample.dropped,
    }
    passages, error = sample.passages(rates.limit(tag))
    if passages is None:
        return Expected(**known, **_UNKNOWN)
    works = [rates.work(stage, tag, passages) for stage in ASKED]
    return Expected(
        **known,
        passages=passages,
        requests=sum(work.requests for work in works),
        prompt_tokens=sum(work.prompt_tokens for work in works),
        output_tokens=sum(work.output_tokens for work in works),
        seconds=curating + sum(work.seconds for work in works) + sample.reading(passages),
        cost=sum(work.cost for work in works),
        error=math.hypot(rates.error, error),
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


def _needs(model: Model) -> ModelNeeds:
    from x_instruction.engines.models import locate

    name = " + ".join(filter(None, (model.name, model.adapter)))
    if engine_spec(model).remote:
        return ModelNeeds(name, model.engine, None, model.server.place)
    folders = [locate(model.name, model.revision).folder, *([locate(model.adapter).folder] if model.adapter else [])]
    size = sum(file.stat().st_size for folder in folders for file in folder.glob("*.safetensors"))
    return ModelNeeds(name, model.engine, size, "")
