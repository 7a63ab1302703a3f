"""Compare raters on pairs with known levels, by language."""

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
from x_instruction.refine import TRAINED_RATERS, metrics, threshold
from x_instruction.refine.labels import Example

# Name of the row for all languages together.
ALL = "all"
# Resamples per interval: its ends vary by less than a hundredth of a typical width between seeds.
REPEATS = 1_000
# A threshold below every score, on any scale.
KEEP_ALL = -1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterMetrics:
    """Metrics of a rater on the pairs of one language. Shares are 0 to 1, and NaN if undefined.

    Args:
        rater: the rater.
        language: language tag; ``all`` for all languages together.
        pairs: number of rated pairs.
        failed: number of pairs without a rating, which are not in the other metrics.
        best_worst: AUROC of best pairs against worst ones, with the ends of its 95 % interval.
        best_rest: AUROC of best pairs against all others, likewise.
        by: the value that the threshold applies to, ``score`` or ``p_best``.
        threshold: the lowest value that is kept.
        precision: share of best pairs among the kept ones.
        recall: share of kept pairs among the best ones.
        calibration_error: expected calibration error of ``p_best``, if the rater gives it.
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
        """As values for JSON, with None instead of NaN."""
        table = dataclasses.asdict(self)
        for name, value in table.items():
            if isinstance(value, tuple):
                table[name] = dict(zip(("value", "low", "high"), map(_plain, value), strict=True))
            elif isinstance(value, float):
                table[name] = _plain(value)
        return table


def settings_for(settings: Refine, rater: str, adapter: str | None = None) -> Refine:
    """The settings of a recipe changed to another rater.

    The threshold of the recipe is on the scale of its own rater, so other raters have none (``KEEP_ALL``) and keep the
    best of each passage. The prompt is kept for the recipe's rater, and between trained raters; the adapter is kept for
    trained raters only.

    Args:
        settings: the section ``refine`` of the recipe.
        rater: name of a rater.
        adapter: adapter for trained raters, instead of that of the recipe.

    Raises:
        RecipeError: the recipe names no model.
    """
    own, trained = rater == settings.rater, rater in TRAINED_RATERS
    model = settings.rater_model
    return settings.replace(
        rater=rater,
        model=model.replace(adapter=(adapter or model.adapter) if trained else None),
        prompt=settings.prompt if own or (trained and settings.rater in TRAINED_RATERS) else "auto",
        precision=settings.precision if own else None,
        min_score=settings.min_score if own else KEEP_ALL,
        train=None,
    )


def candidate(example: Example, number: int) -> Candidate:
    """A labelled pair as a candidate. ``number`` distinguishes pairs with the same response."""
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
    """Metrics of a rater per language, sorted by tag, and for all languages together if there are several.

    Args:
        examples: the labelled pairs.
        rated: the rating of each pair, in the same order.
        settings: settings of the rater.
        seed: random seed of the intervals.

    Raises:
        RecipeError: ``precision`` is set and the threshold of the rater for it is unknown.
    """
    own = settings.precision is not None or settings.min_score not in (0, KEEP_ALL)
    least = threshold(settings) if own else math.nan
    tags = sorted({example.language for example in examples})
    result = []
    for tag in [*tags, ALL] if len(tags) > 1 else tags:
        rows = [row for row, example in enumerate(examples) if tag in (ALL, example.language)]
        rated_pairs = [(examples[row], record) for row in rows if isinstance(record := rated[row], Rated)]
        result.append(_metrics(rated_pairs, tag, settings.rater, len(rows) - len(rated_pairs), least, seed))
    return result


def _metrics(
    rated_pairs: Sequence[tuple[Example, Rated]], tag: str, rater: str, failed: int, least: float, seed: int
) -> RaterMetrics:
    levels = np.array([example.level for example, _ in rated_pairs], dtype=np.str_)
    scores = np.array([record.score for _, record in rated_pairs], dtype=np.float64)
    p_best = np.array([math.nan if r.p_best is None else r.p_best for _, r in rated_pairs], dtype=np.float64)
    good = levels == "best"
    # A pair without a finite score is never kept, so it ranks below all others.
    scores = np.where(np.isnan(scores), -np.inf, scores)
    has_p_best = bool(len(rated_pairs)) and not np.isnan(p_best).any()
    # Default threshold: more likely good than not, or positive mutual information.
    by = "p_best" if math.isnan(least) and has_p_best else "score"
    least = least if not math.isnan(least) else 0.5 if has_p_best else 0.0
    precision, recall = metrics.precision_recall(p_best if by == "p_best" else scores, good, least)
    return RaterMetrics(
        rater=rater,
        language=tag,
        pairs=len(rated_pairs),
        failed=failed,
        best_worst=_interval(scores, good, levels != "flawed", seed),
        best_rest=_interval(scores, good, np.ones(len(rated_pairs), dtype=np.bool_), seed),
        by=by,
        threshold=least,
        precision=precision,
        recall=recall,
        calibration_error=metrics.calibration_error(p_best, good) if has_p_best else math.nan,
    )


def _interval(
    scores: npt.NDArray[np.float64], good: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_], seed: int
) -> tuple[float, float, float]:
    value = metrics.auroc(scores[rows], good[rows])
    return value, *interval(metrics.auroc, (scores[rows], good[rows]), REPEATS, seed)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
