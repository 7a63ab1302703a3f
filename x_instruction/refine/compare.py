"""Raters side by side on pairs whose level is known, language by language."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.bootstrap import interval
from x_instruction.config.refine import Refine
from x_instruction.records import Candidate, Dropped, Rated, text_digest
from x_instruction.refine import TUNED, metrics, threshold
from x_instruction.refine.labels import Example

# Stands for all languages together.
ALL = "all"
# Draws for an interval: its ends move by less than a hundredth of a typical width from seed to seed.
REPEATS = 1_000
# A threshold below every score, in whatever scale.
KEEP_ALL = -1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterMetrics:
    """How good a rater is on the pairs of one language; shares are 0 to 1, and not a number where there is none.

    Args:
        rater, language: which; ``all`` stands for all languages together.
        pairs: that were rated.
        failed: pairs without a rating, which count in nothing else.
        best_worst: AUROC of best pairs against worst ones, with the ends of its 95 % interval.
        best_rest: AUROC of best pairs against all others, likewise.
        by: what the threshold is of, ``score`` or ``p_best``.
        threshold: the least that is kept.
        precision, recall: of best pairs among the kept, of kept among the best.
        calibration_error: of ``p_best``, where the rater gives it.
    """

    rater: str
    language: str
    pairs: int
    failed: int
    best_worst: tuple[float, float, float]
    best_rest: tuple[float, float, float]
    by: str
    threshold: float
    precision: float
    recall: float
    calibration_error: float

    def plain(self) -> dict[str, Any]:
        """As JSON has it: None for what is not a number."""
        table = dataclasses.asdict(self)
        for name, value in table.items():
            if isinstance(value, tuple):
                table[name] = dict(zip(("value", "low", "high"), map(_plain, value), strict=True))
            elif isinstance(value, float):
                table[name] = _plain(value)
        return table


def settings_for(settings: Refine, rater: str, adapter: str | None = None) -> Refine:
    """A recipe's settings for any rater.

    Its own threshold is in its own rater's scale, so the others keep all (``KEEP_ALL``): of a passage what ranks best.
    Its prompt is for its own rater, or for both that read what tuning taught; its adapter is for these.

    Args:
        settings: the recipe's section.
        rater: name of a rater.
        adapter: of the tuned raters, instead of the recipe's own; the others go without one.
    """
    own, tuned = rater == settings.rater, rater in TUNED
    return settings.replace(
        rater=rater,
        model=settings.model.replace(adapter=(adapter or settings.model.adapter) if tuned else None),
        prompt=settings.prompt if own or (tuned and settings.rater in TUNED) else "auto",
        precision=settings.precision if own else None,
        min_score=settings.min_score if own else KEEP_ALL,
        train=None,
    )


def candidate(example: Example, number: int) -> Candidate:
    """A labelled pair as raters take it; its number tells it from others with the same response."""
    digest = text_digest(example.text)
    return Candidate(
        id=f"{example.language}-{digest[:16]}",
        language=example.language,
        text=example.text,
        document_id=example.document,
        segment=0,
        source="labels",
        url="",
        license="unknown",
        text_hash=digest,
        identified=example.language,
        identified_confidence=1.0,
        instruction=example.instruction,
        instruction_language=example.instruction_language,
        style="",
        candidate=number,
        round=0,
        finish_reason="stop",
        generator="labels",
        generator_revision="",
        generator_prompt="",
    )


def rater_metrics(
    examples: Sequence[Example], rated: Sequence[Rated | Dropped], settings: Refine, seed: int
) -> list[RaterMetrics]:
    """A rater's figures for each language, by tag, and for all of them together where there are several.

    Args:
        examples: what was rated.
        rated: its rating, pair for pair.
        settings: of the rater.
        seed: of the intervals.

    Raises:
        RecipeError: ``precision`` is set and the rater's threshold for it is not known.
    """
    own = settings.precision is not None or settings.min_score not in (0, KEEP_ALL)
    least = threshold(settings) if own else math.nan
    tags = sorted({example.language for example in examples})
    found = []
    for tag in [*tags, ALL] if len(tags) > 1 else tags:
        rows = [row for row, example in enumerate(examples) if tag in (ALL, example.language)]
        part = [(examples[row], record) for row in rows if isinstance(record := rated[row], Rated)]
        found.append(_figures(part, tag, settings.rater, len(rows) - len(part), least, seed))
    return found


def _figures(
    part: Sequence[tuple[Example, Rated]], tag: str, rater: str, failed: int, least: float, seed: int
) -> RaterMetrics:
    levels = np.array([example.level for example, _ in part], dtype=np.str_)
    scores = np.array([record.score for _, record in part], dtype=np.float64)
    p_best = np.array([math.nan if r.p_best is None else r.p_best for _, r in part], dtype=np.float64)
    good = levels == "best"
    # A pair whose score is no number is never kept, so it is worse than all others.
    scores = np.where(np.isnan(scores), -np.inf, scores)
    probable = bool(len(part)) and not np.isnan(p_best).any()
    # Without a threshold of its own a rater keeps what is likelier good than not, or gains from the instruction.
    by = "p_best" if math.isnan(least) and probable else "score"
    least = least if not math.isnan(least) else 0.5 if probable else 0.0
    precision, recall = metrics.precision_recall(p_best if by == "p_best" else scores, good, least)
    return RaterMetrics(
        rater=rater,
        language=tag,
        pairs=len(part),
        failed=failed,
        best_worst=_interval(scores, good, levels != "flawed", seed),
        best_rest=_interval(scores, good, np.ones(len(part), dtype=np.bool_), seed),
        by=by,
        threshold=least,
        precision=precision,
        recall=recall,
        calibration_error=metrics.calibration_error(p_best, good) if probable else math.nan,
    )


def _interval(
    scores: npt.NDArray[np.float64], good: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_], seed: int
) -> tuple[float, float, float]:
    value = metrics.auroc(scores[rows], good[rows])
    return value, *interval(metrics.auroc, (scores[rows], good[rows]), REPEATS, seed)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
