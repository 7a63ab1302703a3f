"""What a tuned rater's probabilities are worth: a temperature, and the precision of every threshold.

Both are fitted on validation pairs, whose documents the rater never saw, and stand in ``calibration.json`` beside its
adapter. One temperature for all classes cannot change which answer is likeliest (Guo et al., arXiv 1706.04599).
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
COLDEST, WARMEST = 0.05, 20.0
# A probability of 0 would make any temperature infinitely bad, and its logarithm cannot be scaled.
_LEAST = 1e-12
# Steps of the golden section: the bracket of 6 nats is narrowed to less than 1e-12.
_STEPS = 64


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration.

    Args:
        temperature: probabilities are raised to its inverse and sum to 1 again; above 1 they come closer together.
        curve: threshold, precision and recall of the validation pairs whose calibrated probability of ``best``
            reaches it, by rising threshold; a pair is good when its level is ``best``.
    """

    temperature: float
    curve: tuple[tuple[float, float, float], ...] = ()

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrated probabilities (n, 3) of probabilities (n, 3); rows sum to 1."""
        return _warmed(_logarithms(np.asarray(probabilities, dtype=np.float64)), self.temperature)

    def threshold(self, precision: float) -> float:
        """The least threshold that reached a precision on the validation pairs.

        Args:
            precision: 0 to 1.

        Raises:
            RecipeError: none did.
        """
        reached = [threshold for threshold, share, _ in self.curve if share >= precision]
        if reached:
            return min(reached)
        best = max(self.curve, key=lambda point: (point[1], point[2]), default=None)
        seen = f"the best was {best[1]:.3f} at {best[0]:.3f} (recall {best[2]:.3f})" if best else "it has none"
        raise RecipeError(
            f"no threshold of the rater reached a precision of {precision:g} on its validation pairs, {seen}: "
            "lower refine.precision, or tune the rater on more seeds"
        )

    def write(self, folder: Path) -> None:
        """Write ``calibration.json`` into a folder."""
        table = {"temperature": self.temperature, "curve": [list(point) for point in self.curve]}
        with atomic(folder / FILE) as stream:
            stream.write(json.dumps(table, indent=1, allow_nan=False).encode())


def fit(probabilities: npt.ArrayLike, levels: npt.ArrayLike) -> Calibration:
    """A calibration from validation pairs.

    The temperature has the least mean negative log-likelihood of the levels, within 0.05 to 20. The likelihood is
    concave in the inverse temperature, so a golden section finds it.

    Args:
        probabilities: (n, 3), in the order of ``labels.LEVELS``.
        levels: (n,), positions in ``labels.LEVELS``.

    Raises:
        CorpusError: there are no pairs, or none is of the best level.
        EngineError: the arrays have other shapes, or hold what is no probability.
    """
    p, which = np.asarray(probabilities, dtype=np.float64), np.asarray(levels)
    if not len(which):
        raise CorpusError("no validation pairs to calibrate the rater on: raise refine.validation, or add seeds")
    if p.shape != (len(which), 3) or which.ndim != 1:
        raise EngineError(f"probabilities of shape {p.shape} and levels of {which.shape}, wanted (n, 3) and (n,)")
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise EngineError("the rater gave validation pairs numbers that are no probabilities: tune it again")
    if not np.isin(which, (0, 1, 2)).all():
        raise EngineError(f"levels are {np.unique(which).tolist()}, wanted 0 (best), 1 (flawed) and 2 (worst)")
    if not (which == 0).any():
        raise CorpusError("no validation pair is of the best level: name a builder of it in refine.label_strategies")
    logarithms = _logarithms(p)
    rows = np.arange(len(which))

    def loss(log_temperature: float) -> float:
        scaled = logarithms / math.exp(log_temperature)
        return float((_log_sum(scaled) - scaled[rows, which]).mean())

    temperature = math.exp(_least(loss, math.log(COLDEST), math.log(WARMEST)))
    return Calibration(temperature, _curve(_warmed(logarithms, temperature)[:, 0], which == 0))


def read(folder: Path) -> Calibration | None:
    """The calibration in a folder, or None when there is no file of one.

    Raises:
        EngineError: the file is damaged.
    """
    path = folder / FILE
    try:
        table: Any = json.loads(path.read_text("utf-8"))
        curve = tuple((float(t), float(precision), float(recall)) for t, precision, recall in table["curve"])
        found = Calibration(float(table["temperature"]), curve)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EngineError(f"{path} is no calibration ({error!r}): tune the rater again, or remove the file") from None
    if not COLDEST / 2 <= found.temperature <= WARMEST * 2 or not np.isfinite(np.array(curve, dtype=np.float64)).all():
        raise EngineError(f"{path} has the temperature {found.temperature:g}, wanted {COLDEST:g} to {WARMEST:g}")
    return found


def of(model: Model) -> Calibration | None:
    """The calibration of a rater's model, beside its adapter, or beside its weights where all of them were tuned.

    None when there is none, or a server runs the model: its files are not here.

    Raises:
        EngineError: the adapter is not there, or the file is damaged.
    """
    if engine_spec(model).remote:
        return None
    if model.adapter:
        return read(locate(model.adapter).folder)
    if model.name in MODELS or not (Path(model.name).is_dir() or model.name.count("/") == 1):
        return None
    return read(locate(model.name, model.revision).folder)


def _logarithms(probabilities: Floats) -> Floats:
    found: Floats = np.log(np.maximum(probabilities, _LEAST))
    return found


def _log_sum(scaled: Floats) -> Floats:
    highest = scaled.max(axis=1)
    found: Floats = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return found


def _warmed(logarithms: Floats, temperature: float) -> Floats:
    scaled = logarithms / temperature
    found: Floats = np.exp(scaled - _log_sum(scaled)[:, None])
    return found


def _least(loss: Any, low: float, high: float) -> float:
    """Where a function with one valley is least, by golden section (Kiefer 1953)."""
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


def _curve(scores: Floats, good: npt.NDArray[np.bool_]) -> tuple[tuple[float, float, float], ...]:
    """Threshold, precision and recall at every score that occurs, rising."""
    thresholds, places = np.unique(scores, return_inverse=True)
    # Of each threshold: how many pairs have exactly its score, then how many have it or more.
    kept = np.bincount(places, minlength=len(thresholds))[::-1].cumsum()[::-1]
    right = np.bincount(places, weights=good, minlength=len(thresholds))[::-1].cumsum()[::-1]
    points = zip(thresholds.tolist(), (right / kept).tolist(), (right / good.sum()).tolist(), strict=True)
    return tuple(points)
