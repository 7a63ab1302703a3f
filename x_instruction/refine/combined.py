"""Rating by a logistic combination of other raters.

The weights are in a JSON file: ``refine.weights``, or ``combined.json`` beside the adapter, which training writes, or
the file of this package (fitted by ``benchmarks/ranking.py``). It may hold several combinations. The first one whose
raters all work with the engine is used, so a server without likelihoods still has one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction import hashing
from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Engine, Failed, engine_spec
from x_instruction.engines.models import locate
from x_instruction.errors import NotCapable, RecipeError
from x_instruction.records import Candidate
from x_instruction.refine import Rating, consensus, contrastive, logistic, pmi, prompted, trained
from x_instruction.storage.atomic import atomic, regular_text

needs = ()

FILE = "combined.json"
INCLUDED = Path(__file__).with_name(FILE)
# Limits the log-odds of a probability to 27.6 nats.
_LEAST = 1e-12

RateFunction = Callable[[Sequence[Candidate], Refine, Engine, Ask], list[Rating | Failed]]


@dataclass(frozen=True, slots=True)
class Feature:
    """A rater whose score is a feature.

    Args:
        needs: capabilities of the engine that it needs.
        rate: rates candidates.
        value: the feature of a score.
    """

    needs: tuple[str, ...]
    rate: RateFunction
    value: Callable[[float], float] = float


def _scaled(rate: RateFunction, per_token: bool) -> RateFunction:
    """In nats or nats per token, whatever the recipe says: the weights are for that scale."""
    return lambda candidates, settings, engine, ask: rate(
        candidates, settings.replace(direction="instruction", per_token=per_token), engine, ask
    )


def _log_odds(p: float) -> float:
    bounded = min(max(p, _LEAST), 1 - _LEAST)
    return math.log(bounded / (1 - bounded))


FEATURES = {
    "consensus": Feature(consensus.needs, consensus.rate),
    "contrastive": Feature(contrastive.needs, _scaled(contrastive.rate, per_token=False)),
    "pmi": Feature(pmi.needs, _scaled(pmi.rate, per_token=False)),
    "pmi_per_token": Feature(pmi.needs, _scaled(pmi.rate, per_token=True)),
    "prompted": Feature(prompted.needs, prompted.rate),
    "trained": Feature(trained.needs, trained.rate, _log_odds),
}


@dataclass(frozen=True, slots=True)
class Combination:
    """Features and their logistic regression.

    Args:
        features: keys of ``FEATURES``.
        model: weights in their order.
        prior: share of good pairs for which probabilities are stated.
    """

    features: tuple[str, ...]
    model: logistic.Logistic
    prior: float

    def plain(self) -> dict[str, Any]:
        """As values for JSON."""
        return {
            "weights": dict(zip(self.features, self.model.weights, strict=True)),
            "intercept": self.model.intercept,
            "prior": self.prior,
        }


def write(combinations: Sequence[Combination], fitted_on: str, path: Path) -> None:
    """Write combinations to a file, the preferred one first.

    Args:
        combinations: at least one.
        fitted_on: a description of the pairs that the weights were fitted on.
        path: the file.
    """
    table = {"fitted_on": fitted_on, "combinations": [one.plain() for one in combinations]}
    with atomic(path) as stream:
        stream.write(json.dumps(table, indent=1, allow_nan=False).encode() + b"\n")


def read(path: Path) -> tuple[Combination, ...]:
    """The combinations of a file.

    Raises:
        RecipeError: the file cannot be read, or names other features.
    """
    return _read(path, path.stat().st_mtime_ns if path.is_file() else 0)


@cache
def _read(path: Path, _: int) -> tuple[Combination, ...]:
    try:
        table = json.loads(regular_text(path))
        found = tuple(
            Combination(
                tuple(one["weights"]),
                logistic.Logistic(tuple(map(float, one["weights"].values())), float(one["intercept"])),
                float(one["prior"]),
            )
            for one in table["combinations"]
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecipeError(
            f"{path} is not a file of weights ({error!r}): expected what training or benchmarks/ranking.py writes"
        ) from None
    unknown = [name for one in found for name in one.features if name not in FEATURES]
    if unknown or not found:
        named = f"names the feature {unknown[0]!r}" if unknown else "has no combination"
        raise RecipeError(f"{path} {named}, expected features among {', '.join(FEATURES)}")
    return found


def weights(settings: Refine) -> Path:
    """The file of the weights that a recipe uses.

    Raises:
        RecipeError: ``refine.weights`` is not a file.
        EngineError: the adapter does not exist.
    """
    if settings.weights is not None:
        path = Path(settings.weights)
        if not path.is_file():
            raise RecipeError(f"refine.weights is {settings.weights!r}, which is not a file: expected the path of one")
        return path
    model = settings.rater_model
    if model.adapter and not engine_spec(model).remote:
        beside = locate(model.adapter).folder / FILE
        if beside.is_file():
            return beside
    return INCLUDED


def digest(settings: Refine) -> str:
    """Digest of the weights, which decide the ratings.

    Raises:
        RecipeError: the file of the weights cannot be read.
    """
    return hashing.digest([one.plain() for one in read(weights(settings))])


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` and ``p_best`` are the probability of being good, 0 to 1.

    Raises:
        NotCapable: the engine lacks the capabilities of every combination.
    """
    chosen = choose(settings, engine.capabilities)
    measured = features(candidates, chosen.features, settings, engine, ask)
    ratings: list[Rating | Failed] = []
    for row in measured:
        if isinstance(row, Failed):
            ratings.append(row)
            continue
        best = float(logistic.sigmoid(chosen.model.log_odds([row]))[0])
        ratings.append(Rating(best, p_best=best))
    return ratings


def choose(settings: Refine, capabilities: frozenset[str]) -> Combination:
    """The first combination whose raters all work.

    Raises:
        NotCapable: the engine lacks the capabilities of every combination.
    """
    found = read(weights(settings))
    able = [one for one in found if all(capabilities.issuperset(FEATURES[name].needs) for name in one.features)]
    if not able:
        needed = sorted({need for name in found[-1].features for need in FEATURES[name].needs})
        raise NotCapable(
            f"the rater 'combined' needs an engine that can {' and '.join(needed)} for the weights in "
            f"{weights(settings)}, this one cannot"
        )
    return able[0]


def features(
    candidates: Sequence[Candidate], names: Sequence[str], settings: Refine, engine: Engine, ask: Ask
) -> list[tuple[float, ...] | Failed]:
    """The features of each candidate in the order of ``names``, or why one failed."""
    columns = [FEATURES[name].rate(candidates, settings, engine, ask) for name in names]
    rows: list[tuple[float, ...] | Failed] = []
    for ratings in zip(*columns, strict=True):
        failed = next((rating for rating in ratings if isinstance(rating, Failed)), None)
        scores = [rating.score for rating in ratings if isinstance(rating, Rating)]
        rows.append(failed or tuple(FEATURES[name].value(s) for name, s in zip(names, scores, strict=True)))
    return rows


def fit(measured: npt.ArrayLike, names: Sequence[str], good: npt.ArrayLike, prior: float | None = None) -> Combination:
    """Fit a combination.

    Args:
        measured: features, (pairs, features).
        names: names of the features.
        good: (pairs,), true for good pairs.
        prior: expected share of good pairs among candidates; None for the share among the pairs.

    Raises:
        CorpusError: no pair is good, or none is bad.
    """
    flags = np.asarray(good, dtype=np.bool_)
    share = float(flags.mean())
    if prior is None or not 0 < share < 1:
        return Combination(tuple(names), logistic.fit(measured, flags), share)
    importance = np.where(flags, prior / share, (1 - prior) / (1 - share))
    return Combination(tuple(names), logistic.fit(measured, flags, importance), prior)


def with_consensus(found: Combination) -> Combination:
    """The combination with ``consensus`` added, at the weight that it has alone in the file of this package."""
    alone = next(one for one in read(INCLUDED) if one.features == ("consensus",))
    return Combination(
        (*found.features, "consensus"),
        logistic.Logistic(
            (*found.model.weights, *alone.model.weights),
            found.model.intercept + alone.model.intercept - _log_odds(alone.prior),
        ),
        found.prior,
    )
