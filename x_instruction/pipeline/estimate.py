"""An estimate before a run: a small probe of the real corpus and the real model, extrapolated."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from x_instruction.config.recipe import Recipe
from x_instruction.errors import RecipeError
from x_instruction.languages import language
from x_instruction.pipeline.batch import by_files
from x_instruction.pipeline.costs import priced
from x_instruction.pipeline.progress import NullProgress
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


def estimate(settings: Recipe, workers: int) -> Iterator[str]:
    """Lines of a table: rows, requests, tokens and time by language, from a probe that keeps nothing.

    Args:
        workers: processes that would work; time left is divided by them.
    """
    from x_instruction.pipeline.execute import execute

    if any(by_files(settings, stage) for stage in stages(settings)):
        raise RecipeError(
            'a preview asks the model a few requests, which engine = "batch" cannot answer: `x-instruction run`, then '
            "`x-instruction batch write` count them instead"
        )
    with tempfile.TemporaryDirectory() as folder:
        probe = settings.replace(
            languages=settings.languages[:1],
            corpus=settings.corpus.replace(
                passages=_PASSAGES, documents=min(settings.corpus.documents or _DOCUMENTS, _DOCUMENTS)
            ),
            # Tuning takes as long as it takes; a base is asked as quickly as what is tuned from it.
            generate=settings.generate.replace(train=None),
            refine=settings.refine.replace(train=None, init_from="base", rounds=0, precision=None),
        )
        # Loading models is no cost per row, so the probe is timed by its ledgers, which start after loading.
        measured = totals(execute(probe, Path(folder), 1, False, "rated", NullProgress()), settings)
    rows = max(1, next(t.kept for t in measured if t.stage == "passage"))
    per_row = {
        name: sum(getattr(t, name) for t in measured) / rows
        for name in ("requests", "prompt_tokens", "output_tokens", "seconds", "cost")
    }
    costly = ("cost",) if priced(settings) else ()
    yield f"probe: {rows} passages of {language(settings.languages[0]).name}, one worker"
    header = ("documents", "passages", "requests", "tokens in", "tokens out", *costly, "time")
    yield "language  " + "".join(cell.rjust(12) for cell in header)
    total, price, unknown = 0.0, 0.0, False
    for tag in settings.languages:
        found = _expected(settings, tag, per_row)
        total += found.seconds or 0.0
        price += found.cost or 0.0
        unknown |= found.seconds is None
        cells = (found.documents, found.passages, found.requests, found.prompt_tokens, found.output_tokens)
        shown = ["?" if cell is None else f"{cell:,}" for cell in cells]
        shown += ["?" if found.cost is None else money(found.cost)] if costly else []
        clock = "?" if found.seconds is None else _clock(found.seconds)
        yield f"{tag:10}" + "".join(cell.rjust(12) for cell in (*shown, clock))
    more = "; languages with ? have no known size: bound them with --limit" if unknown else ""
    paid = f", {money(price)} to pay" if costly else ""
    tuned = any(section.train for section in (settings.generate, settings.refine))
    more += "; tuning and rounds come on top" if tuned else ""
    yield f"about {_clock(total / max(1, workers))} with {workers} worker{'s' if workers != 1 else ''}{paid}{more}"


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


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
