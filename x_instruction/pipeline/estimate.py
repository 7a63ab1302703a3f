"""An estimate before a run: a small probe of the real corpus and the real model, extrapolated."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from x_instruction.config.recipe import Recipe
from x_instruction.corpus import ensemble
from x_instruction.errors import RecipeError
from x_instruction.languages import language
from x_instruction.pipeline.batch import by_files
from x_instruction.pipeline.costs import priced
from x_instruction.pipeline.progress import NullProgress, duration
from x_instruction.pipeline.rounds import stages
from x_instruction.pipeline.status import money, totals
from x_instruction.records import Dropped

# Documents read and passages sent to the models by the probe.
_DOCUMENTS = 200
_PASSAGES = 4


@dataclass(frozen=True, slots=True)
class Expected:
    """What one language is expected to take.

    Args:
        documents: in the corpus; None when only reading all of it would tell.
        passages: that the filters keep of them.
        seconds: of one worker, all stages.
        cost: by the recipe's prices.
    """

    language: str
    documents: int | None
    passages: int | None
    requests: int | None
    prompt_tokens: int | None
    output_tokens: int | None
    seconds: float | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take.

    Args:
        rows: passages that the probe sent to the models.
        language: of the probe.
        workers: processes that would work.
        languages: one entry per language of the recipe.
        priced: whether the recipe has prices.
        trains: whether the run also trains models, which is not part of the estimate.
    """

    rows: int
    language: str
    workers: int
    languages: tuple[Expected, ...]
    priced: bool
    trains: bool

    def summary(self) -> str:
        """The time of all languages together, and the cost, as one line."""
        seconds = sum(found.seconds or 0.0 for found in self.languages) / max(1, self.workers)
        cost = f", {money(sum(found.cost or 0.0 for found in self.languages))} to pay" if self.priced else ""
        unknown = any(found.seconds is None for found in self.languages)
        more = "; languages without figures have no known size: bound them with --limit" if unknown else ""
        more += "; training and rounds are not included" if self.trains else ""
        return f"about {duration(seconds)} with {self.workers} worker{'s' if self.workers != 1 else ''}{cost}{more}"


def estimate(settings: Recipe, workers: int) -> Estimate:
    """Rows, requests, tokens and time by language, from a probe that keeps nothing.

    Args:
        workers: processes that would work.

    Raises:
        RecipeError: an engine of the recipe answers through batch files, or no identifier knows a language.
    """
    from x_instruction.pipeline.execute import execute

    if any(by_files(settings, stage) for stage in stages(settings)):
        raise RecipeError(
            'a preview asks the model a few requests, which engine = "batch" cannot answer: `x-instruction run`, then '
            "`x-instruction batch write` count them instead"
        )
    ensemble.check([language(tag) for tag in settings.languages], settings.corpus.filters)
    with tempfile.TemporaryDirectory() as folder:
        probe = settings.replace(
            languages=settings.languages[:1],
            corpus=settings.corpus.replace(
                passages=_PASSAGES, documents=min(settings.corpus.documents or _DOCUMENTS, _DOCUMENTS)
            ),
            # A base model answers as quickly as what is trained from it, and training is not part of the estimate.
            generate=settings.generate.replace(train=None),
            refine=settings.refine.replace(train=None, init_from="base", rounds=0, precision=None),
        )
        # Loading models is no cost per row, so the probe is timed by its request caches, which start after loading.
        measured = totals(execute(probe, Path(folder), 1, False, "rated", NullProgress()), settings)
    rows = max(1, next(t.kept for t in measured if t.stage == "passage"))
    per_row = {
        name: sum(getattr(t, name) for t in measured) / rows
        for name in ("requests", "prompt_tokens", "output_tokens", "seconds", "cost")
    }
    return Estimate(
        rows,
        settings.languages[0],
        workers,
        tuple(_expected(settings, tag, per_row) for tag in settings.languages),
        priced(settings),
        any(section.train for section in (settings.generate, settings.refine)),
    )


def _expected(settings: Recipe, tag: str, per_row: dict[str, float]) -> Expected:
    from x_instruction.corpus.sources import count
    from x_instruction.corpus.stage import passages

    sample = min(settings.corpus.documents or _DOCUMENTS, _DOCUMENTS)
    corpus = settings.corpus.replace(documents=sample, passages=None)
    started, read, kept = time.monotonic(), 0, 0

    def seen(documents: int) -> None:
        nonlocal read
        read = documents

    with tempfile.TemporaryDirectory() as folder:
        for record in passages(corpus, language(tag), Path(folder), seen):
            kept += not isinstance(record, Dropped)
    seconds = time.monotonic() - started
    documents = count(settings.corpus, language(tag))
    limit = settings.corpus.passages
    if documents is None and limit is None:
        return Expected(tag, None, None, None, None, None, None, None)
    rows = limit if documents is None else round(documents * kept / max(1, read))
    rows = min(rows or 0, limit or rows or 0)
    reading = seconds / max(1, kept) * rows
    return Expected(
        tag,
        documents,
        rows,
        round(per_row["requests"] * rows),
        round(per_row["prompt_tokens"] * rows),
        round(per_row["output_tokens"] * rows),
        per_row["seconds"] * rows + reading,
        per_row["cost"] * rows,
    )
