"""The second part of X-Instruction: rate every candidate and keep the best (section 3.2).

This is one round. Further rounds, with a generator and a rater that are trained again, call ``rate`` and ``keep``
again.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from x_instruction.config.refine import UNASKED, Refine
from x_instruction.engines import Ask, Engine, Failed, engine_spec
from x_instruction.errors import NotCapable, RecipeError
from x_instruction.records import Candidate, Dropped, Rated, dropped, extend
from x_instruction.refine import calibration


@dataclass(frozen=True, slots=True)
class Rating:
    """The rating of one pair.

    Args:
        score: on the scale of the rater; higher is better.
        p_best, p_flawed, p_worst: probabilities of the three levels, if the rater gives them.
    """

    score: float
    p_best: float | None = None
    p_flawed: float | None = None
    p_worst: float | None = None


class Rater(Protocol):
    """A rating method: a module of this folder with these two names."""

    needs: tuple[str, ...]
    """Capabilities that the engine must have; empty if the rater asks none, or makes do with what there is."""

    def rate(
        self, candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask
    ) -> list[Rating | Failed]:
        """One rating per candidate, in order, or why it failed."""


# The score at the beginning of the detail of a dropped candidate.
_SCORE = re.compile(r"-?\d+\.\d+")
# Raters that can use the adapter of a trained rater; the others use the base model.
TRAINED_RATERS = ("trained", "combined")
RATERS = {
    "trained": "x_instruction.refine.trained",
    "pmi": "x_instruction.refine.pmi",
    "contrastive": "x_instruction.refine.contrastive",
    "consensus": "x_instruction.refine.consensus",
    "prompted": "x_instruction.refine.prompted",
    "combined": "x_instruction.refine.combined",
    "none": "x_instruction.refine.null_rater",
}


def _rater(settings: Refine) -> Rater:
    rater: Rater = importlib.import_module(RATERS[settings.rater])
    return rater


def needs_model(settings: Refine) -> bool:
    """True if the rater asks a language model. Otherwise no engine needs to be opened."""
    return settings.rater not in UNASKED


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rated | Dropped]:
    """Every candidate with its rating, in order; dropped if the engine failed on it.

    Raises:
        NotCapable: the engine lacks a capability that the rater needs.
    """
    rater = _rater(settings)
    if not engine.capabilities.issuperset(rater.needs):
        needed = " and ".join(rater.needs)
        raise NotCapable(f"the rater {settings.rater!r} needs an engine that can {needed}, this one cannot")
    ratings = rater.rate(candidates, settings, engine, ask)
    return [
        dropped(f"{candidate.id}-{candidate.candidate}", rating.reason, rating.message, candidate.instruction)
        if isinstance(rating, Failed)
        else extend(
            candidate,
            Rated,
            # Name the model only if one was used.
            rater=f"{settings.rater}:{engine.model}" if needs_model(settings) else settings.rater,
            rater_revision=engine.revision if needs_model(settings) else "",
            score=rating.score,
            p_best=rating.p_best,
            p_flawed=rating.p_flawed,
            p_worst=rating.p_worst,
        )
        for candidate, rating in zip(candidates, ratings, strict=True)
    ]


def check(settings: Refine) -> None:
    """Refuse a rater that cannot work, before thousands of requests are made.

    Raises:
        RecipeError: it needs a trained model and none is set, or its threshold is unknown.
        EngineError: its adapter does not exist, or the calibration beside it is damaged.
    """
    if settings.rater == "combined":
        # Weights that cannot be read.
        combined: Any = _rater(settings)
        combined.digest(settings)
    if settings.train is not None or not needs_model(settings):
        return
    model = settings.rater_model
    if (
        settings.rater == "trained"
        and not (engine_spec(model).remote or model.adapter)
        and calibration.of(model) is None
    ):
        raise RecipeError(
            f"the rater {settings.rater!r} needs a model that was trained to answer with levels, which {model.name} "
            f"does not seem to be: train it with [refine.train], name its adapter (refine.model.adapter), or put a "
            f"{calibration.FILE} beside weights that were trained elsewhere"
        )
    threshold(settings)


def threshold(settings: Refine) -> float:
    """The lowest score of a pair that is kept, on the scale of the rater.

    Raises:
        RecipeError: ``precision`` is set, and the rater is not calibrated or does not reach it.
    """
    if settings.rater == "none":
        return -math.inf
    if settings.precision is None:
        return settings.min_score
    model = settings.rater_model
    fitted = calibration.of(model)
    if fitted is None:
        raise RecipeError(
            f"refine.precision needs a calibrated rater, but there is no {calibration.FILE} beside "
            f"{model.adapter or model.name}: "
            "train the rater with [refine.train], or set refine.min_score instead"
        )
    return fitted.threshold(settings.precision)


def keep(rated: Sequence[Rated | Dropped], settings: Refine) -> Iterator[Rated | Dropped]:
    """The best candidates of each passage that reach the threshold; the others dropped with a reason."""
    least = threshold(settings)
    ranks: dict[str, int] = {}
    scored = [record for record in rated if isinstance(record, Rated)]
    best_first = sorted(scored, key=lambda r: (-r.score if math.isfinite(r.score) else math.inf, r.candidate))
    positions = {}
    for best in best_first:
        positions[best.id, best.candidate] = ranks[best.id] = ranks.get(best.id, -1) + 1
    for record in rated:
        if isinstance(record, Dropped):
            yield record
            continue
        name = f"{record.id}-{record.candidate}"
        if not math.isfinite(record.score):
            yield dropped(name, "no_score", str(record.score), record.instruction)
        elif record.score < least:
            yield dropped(name, "below_threshold", f"{record.score:.3f}", record.instruction)
        elif positions[record.id, record.candidate] >= settings.keep:
            yield dropped(name, "not_best", f"{record.score:.3f}", record.instruction)
        else:
            yield record


def scores(lost: Iterable[Dropped]) -> dict[str, float]:
    """The scores of candidates that ``keep`` dropped, by ``<id>-<candidate>``: with three digits, as it writes them.

    Candidates without a score, such as those that an engine failed on, are left out.
    """
    found = {}
    for record in lost:
        number = _SCORE.match(record.detail)
        if record.reason in ("below_threshold", "not_best") and number:
            found[record.id] = float(number[0])
    return found


def refine(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> Iterator[Rated | Dropped]:
    """The stage: rate, then keep the best."""
    # An unknown threshold is refused before thousands of requests are made.
    threshold(settings)
    return keep(rate(candidates, settings, engine, ask), settings)
