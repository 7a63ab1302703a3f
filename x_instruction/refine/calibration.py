"""Calibration of a trained rater: a temperature, and the precision of every threshold.

Both are fitted on validation pairs of known quality, whose documents were not used for training, and are stored in
``calibration.json`` beside the adapter. A single temperature never changes the most likely answer (Guo et al., arXiv
1706.04599). Validation pairs have as many good as flawed and worst ones, and candidates do not: probabilities and
precision are stated for an expected share of good pairs, the prior (Saerens et al. 2002).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.config.model import Model
from x_instruction.engines import engine_spec
from x_instruction.engines.embedded import MODELS
from x_instruction.engines.models import locate
from x_instruction.errors import CorpusError, EngineError, RecipeError
from x_instruction.storage.atomic import atomic

Floats = npt.NDArray[np.float64]

FILE = "calibration.json"
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
# Replaces a probability of 0, whose logarithm is infinite at any temperature.
_SMALLEST = 1e-12
# Steps of the golden-section search, which narrow the interval of 6 nats to less than 1e-12.
_STEPS = 64


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration.

    Args:
        temperature: divides the log-probabilities. Above 1, probabilities become more equal.
        prior: share of good pairs for which probabilities and precision are stated.
        shift: added to the log-probability of ``best``: log-odds of the prior less those of the validation pairs.
        curve: threshold, and precision and recall of keeping the validation pairs whose calibrated probability of
            ``best`` reaches it, by increasing threshold. Pairs of the level ``best`` are the good ones.
    """

    temperature: float
    curve: tuple[tuple[float, float, float], ...] = ()
    prior: float | None = None
    shift: float = 0.0

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrate probabilities, (n, 3). Rows of the result sum to 1."""
        logarithms = _logarithms(np.asarray(probabilities, dtype=np.float64)) / self.temperature
        return _shifted(logarithms, self.shift)

    def threshold(self, precision: float) -> float:
        """The lowest threshold with at least this precision on the validation pairs.

        Args:
            precision: 0 to 1.

        Raises:
            RecipeError: no threshold reaches it.
        """
        reached = [threshold for threshold, reached_precision, _ in self.curve if reached_precision >= precision]
        if reached:
            return min(reached)
        best = max(self.curve, key=lambda point: (point[1], point[2]), default=None)
        shown = f"the best was {best[1]:.3f} at {best[0]:.3f} (recall {best[2]:.3f})" if best else "there are none"
        raise RecipeError(
            f"no threshold of the rater reaches a precision of {precision:g} on its validation pairs, {shown}: "
            "lower refine.precision, raise refine.prior if more candidates are good, or train the rater on more seeds"
        )

    def write(self, folder: Path) -> None:
        """Write ``calibration.json`` into a folder."""
        table = {
            "temperature": self.temperature,
            "prior": self.prior,
            "shift": self.shift,
            "curve": [list(point) for point in self.curve],
        }
        with atomic(folder / FILE) as stream:
            stream.write(json.dumps(table, indent=1, allow_nan=False).encode())


def fit(probabilities: npt.ArrayLike, levels: npt.ArrayLike, prior: float | None = None) -> Calibration:
    """Fit a calibration on validation pairs.

    The temperature, from 0.05 to 20, minimises the mean negative log-likelihood of the levels. The log-likelihood is
    concave in the inverse temperature, so golden-section search finds the minimum.

    Args:
        probabilities: (n, 3), in the order of ``labels.LEVELS``.
        levels: (n,), indices of ``labels.LEVELS``.
        prior: expected share of good pairs among candidates, between 0 and 1; None for the share among these pairs.

    Raises:
        CorpusError: there are no pairs, or none of the best level.
        EngineError: the arrays have other shapes or invalid values.
    """
    p, which = np.asarray(probabilities, dtype=np.float64), np.asarray(levels)
    if not len(which):
        raise CorpusError("no validation pairs to calibrate the rater on: raise refine.validation, or add seeds")
    if p.shape != (len(which), 3) or which.ndim != 1:
        raise EngineError(f"probabilities of shape {p.shape} and levels of {which.shape}, expected (n, 3) and (n,)")
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise EngineError("the probabilities of the rater for validation pairs are invalid: train it again")
    if not np.isin(which, (0, 1, 2)).all():
        raise EngineError(f"levels are {np.unique(which).tolist()}, expected 0 (best), 1 (flawed) and 2 (worst)")
    if not (which == 0).any():
        raise CorpusError(
            "no validation pair has the level best: add a strategy for it, such as pair, to refine.label_strategies"
        )
    logarithms = _logarithms(p)
    rows = np.arange(len(which))

    def loss(log_temperature: float) -> float:
        scaled = logarithms / math.exp(log_temperature)
        return float((_log_sum(scaled) - scaled[rows, which]).mean())

    temperature = math.exp(_minimum(loss, math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)))
    good = which == 0
    share = float(good.mean())
    if prior is None or share == 1:
        return Calibration(temperature, _curve(_shifted(logarithms / temperature, 0.0)[:, 0], good))
    # A rating of 1 would need an infinite shift.
    bounded = min(prior, 1 - _SMALLEST)
    shift = math.log(bounded / (1 - bounded)) - math.log(share / (1 - share))
    importance = np.where(good, bounded / share, (1 - bounded) / (1 - share))
    curve = _curve(_shifted(logarithms / temperature, shift)[:, 0], good, importance)
    return Calibration(temperature, curve, prior, shift)


def read(folder: Path) -> Calibration | None:
    """Read the calibration in a folder; None if there is no ``calibration.json``.

    Raises:
        EngineError: the file is damaged.
    """
    path = folder / FILE
    try:
        table: Any = json.loads(path.read_text("utf-8"))
        curve = tuple((float(t), float(precision), float(recall)) for t, precision, recall in table["curve"])
        prior = table.get("prior")
        fitted = Calibration(
            float(table["temperature"]), curve, None if prior is None else float(prior), float(table.get("shift", 0.0))
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise EngineError(
            f"{path} is not a calibration ({error!r}): train the rater again, or remove the file"
        ) from None
    if (
        not MIN_TEMPERATURE / 2 <= fitted.temperature <= MAX_TEMPERATURE * 2
        or not np.isfinite(np.array(curve, dtype=np.float64)).all()
    ):
        raise EngineError(
            f"{path} has the temperature {fitted.temperature:g}, expected {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}"
        )
    return fitted


def of(model: Model) -> Calibration | None:
    """The calibration of a rater's model: beside its adapter, or beside its weights if all of them were trained.

    None if there is none, or if a server runs the model, because its files are not on this machine.

    Raises:
        EngineError: the adapter does not exist, or the file is damaged.
    """
    if engine_spec(model).remote:
        return None
    if model.adapter:
        return read(locate(model.adapter).folder)
    if model.name in MODELS or not (Path(model.name).is_dir() or model.name.count("/") == 1):
        return None
    return read(locate(model.name, model.revision).folder)


def _logarithms(probabilities: Floats) -> Floats:
    logarithms: Floats = np.log(np.maximum(probabilities, _SMALLEST))
    return logarithms


def _log_sum(scaled: Floats) -> Floats:
    highest = scaled.max(axis=1)
    log_sums: Floats = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return log_sums


def _shifted(scaled: Floats, shift: float) -> Floats:
    """Probabilities from scaled log-probabilities, with the odds of the first level raised by ``shift``."""
    moved = scaled + np.array([shift, 0.0, 0.0])
    probabilities: Floats = np.exp(moved - _log_sum(moved)[:, None])
    return probabilities


def _minimum(loss: Any, low: float, high: float) -> float:
    """The minimum of a unimodal function by golden-section search (Kiefer 1953)."""
    shrink = (math.sqrt(5) - 1) / 2
    left, right = high - shrink * (high - low), low + shrink * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - shrink * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + shrink * (high - low)
            at_right = loss(right)
    return (low + high) / 2


def _curve(
    scores: Floats, good: npt.NDArray[np.bool_], importance: Floats | None = None
) -> tuple[tuple[float, float, float], ...]:
    """Threshold, precision and recall at every distinct score, by increasing threshold."""
    share = np.ones(len(scores)) if importance is None else importance
    thresholds, inverse = np.unique(scores, return_inverse=True)
    # Weight of the pairs with exactly each score, then with at least this score.
    kept = np.bincount(inverse, weights=share, minlength=len(thresholds))[::-1].cumsum()[::-1]
    correct = np.bincount(inverse, weights=share * good, minlength=len(thresholds))[::-1].cumsum()[::-1]
    points = zip(thresholds.tolist(), (correct / kept).tolist(), (correct / (share * good).sum()).tolist(), strict=True)
    return tuple(points)
