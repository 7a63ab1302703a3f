"""Refinement, the paper's second part: a rater looks at every candidate and the best are kept (section 3.2).

One round. Further rounds (a rater and a generator tuned anew, new instructions) call ``rate`` and ``keep`` again.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Engine, Failed, engine_spec
from x_instruction.errors import NotCapable, RecipeError
from x_instruction.records import Candidate, Dropped, Rated, dropped, extend
from x_instruction.refine import calibration


@dataclass(frozen=True, slots=True)
class Rating:
    """What a rater says of one pair.

    Args:
        score: its own scale, larger is better.
        p_best, p_flawed, p_worst: probabilities of the three levels, where it gives them.
    """

    score: float
    p_best: float | None = None
    p_flawed: float | None = None
    p_worst: float | None = None


class Rater(Protocol):
    """A way to rate; a module of this folder with this function."""

    needs: tuple[str, ...]
    """What the engine must be able to do; nothing when no model is asked."""

    def rate(
        self, candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask
    ) -> list[Rating | Failed]:
        """One rating per candidate, in order, or why there is none."""


# Raters that read what tuning taught; others are asked of the model as it was before.
TUNED = ("trained", "combined")
RATERS = {
    "trained": "x_instruction.refine.trained",
    "pmi": "x_instruction.refine.pmi",
    "prompted": "x_instruction.refine.prompted",
    "combined": "x_instruction.refine.combined",
    "none": "x_instruction.refine.null_rater",
}


def _rater(settings: Refine) -> Rater:
    rater: Rater = importlib.import_module(RATERS[settings.rater])
    return rater


def asks(settings: Refine) -> bool:
    """Whether the rater asks a model; for one that does not, no engine needs to be opened."""
    return bool(_rater(settings).needs)


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rated | Dropped]:
    """Every candidate with its rating, in order; dropped when the engine failed on it.

    Raises:
        NotCapable: the engine cannot do what this rater needs.
    """
    rater = _rater(settings)
    if not engine.capabilities.issuperset(rater.needs):
        wanted = " and ".join(rater.needs)
        raise NotCapable(f"the rater {settings.rater!r} needs an engine that can {wanted}, this one cannot")
    ratings = rater.rate(candidates, settings, engine, ask)
    return [
        dropped(f"{candidate.id}-{candidate.candidate}", rating.reason, rating.message, candidate.instruction)
        if isinstance(rating, Failed)
        else extend(
            candidate,
            Rated,
            # What no model looked at must not be said to be rated by one.
            rater=f"{settings.rater}:{engine.model}" if rater.needs else settings.rater,
            rater_revision=engine.revision if rater.needs else "",
            score=rating.score,
            p_best=rating.p_best,
            p_flawed=rating.p_flawed,
            p_worst=rating.p_worst,
        )
        for candidate, rating in zip(candidates, ratings, strict=True)
    ]


def check(settings: Refine) -> None:
    """Refuse a rater that cannot rate, before a model is asked thousands of times.

    Raises:
        RecipeError: it wants a tuned model and nobody tuned one, or its threshold is not known.
        EngineError: its adapter is not there, or the calibration beside it is damaged.
    """
    if settings.train is not None:
        return
    model = settings.model
    if settings.rater in TUNED and not (engine_spec(model).remote or model.adapter) and calibration.of(model) is None:
        raise RecipeError(
            f"the rater {settings.rater!r} reads the levels that a model was tuned to answer with, and nothing says "
            f"that {model.name} was: tune it with [refine.train], name its adapter (refine.model.adapter), or put a "
            f"{calibration.FILE} beside weights that were tuned elsewhere"
        )
    threshold(settings)


def threshold(settings: Refine) -> float:
    """The least score of a pair that is kept, in the rater's own scale.

    Raises:
        RecipeError: ``precision`` is set, and the rater was not calibrated or never reached it.
    """
    if settings.rater == "none":
        return -math.inf
    if settings.precision is None:
        return settings.min_score
    known = calibration.of(settings.model)
    if known is None:
        raise RecipeError(
            f"refine.precision wants a calibrated rater, and there is no {calibration.FILE} beside "
            f"{settings.model.adapter or settings.model.name}: "
            "tune the rater with [refine.train], or set refine.min_score"
        )
    return known.threshold(settings.precision)


def keep(rated: Sequence[Rated | Dropped], settings: Refine) -> Iterator[Rated | Dropped]:
    """The best of each passage that reach the threshold; the rest with a reason."""
    least = threshold(settings)
    ranks: dict[str, int] = {}
    scored = [record for record in rated if isinstance(record, Rated)]
    best_first = sorted(scored, key=lambda r: (-r.score if math.isfinite(r.score) else math.inf, r.candidate))
    places = {}
    for best in best_first:
        places[best.id, best.candidate] = ranks[best.id] = ranks.get(best.id, -1) + 1
    for record in rated:
        if isinstance(record, Dropped):
            yield record
            continue
        name = f"{record.id}-{record.candidate}"
        if not math.isfinite(record.score):
            yield dropped(name, "no_score", str(record.score), record.instruction)
        elif record.score < least:
            yield dropped(name, "below_threshold", f"{record.score:.3f}", record.instruction)
        elif places[record.id, record.candidate] >= settings.keep:
            yield dropped(name, "not_best", f"{record.score:.3f}", record.instruction)
        else:
            yield record


def refine(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> Iterator[Rated | Dropped]:
    """Rate and keep: the stage."""
    # A threshold that cannot be told is told before a model is asked thousands of times.
    threshold(settings)
    return keep(rate(candidates, settings, engine, ask), settings)
