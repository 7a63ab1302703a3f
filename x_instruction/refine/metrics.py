"""How good a rater is on pairs whose level is known: plain arithmetic (method.md 4.8)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from x_instruction.errors import EngineError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def auroc(scores: npt.ArrayLike, good: npt.ArrayLike) -> float:
    """Share of (good, bad) couples of which the good one scores higher; ties count half.

    That is the area under the curve of true against false positive rate (Hanley and McNeil 1982), from ranks.

    Args:
        scores: (n,), any scale.
        good: (n,), true for good pairs.

    Returns:
        0 to 1; not a number when one of the two is missing.

    Raises:
        EngineError: lengths differ, or a score is not a number.
    """
    values, right = _checked(scores, good)
    positives = int(right.sum())
    couples = positives * (len(right) - positives)
    if not couples:
        return float("nan")
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    # Ranks count from 1; equal scores share the mean of theirs.
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]
    return float((ranks[right].sum() - positives * (positives + 1) / 2) / couples)


def precision_recall(scores: npt.ArrayLike, good: npt.ArrayLike, threshold: float) -> tuple[float, float]:
    """Share of good ones among those that reach a threshold, and share of the good ones that reach it.

    Args:
        scores: (n,).
        good: (n,), true for good pairs.
        threshold: a score that is kept, and so are all above it.

    Returns:
        0 to 1 each; not a number where nothing is kept, or nothing is good.

    Raises:
        EngineError: lengths differ, or a score is not a number.
    """
    values, right = _checked(scores, good)
    kept = values >= threshold
    both = int((kept & right).sum())
    return _share(both, int(kept.sum())), _share(both, int(right.sum()))


def calibration_error(p: npt.ArrayLike, good: npt.ArrayLike, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015; Guo et al., arXiv 1706.04599).

    The mean over pairs of ``|mean p - share of good ones|`` in the pair's bin; bins are equally wide, each with its
    lower bound, the last one with 1 too.

    Args:
        p: (n,), probabilities of being good, 0 to 1.
        good: (n,), true for good pairs.
        bins: number of bins.

    Returns:
        0 to 1; not a number without pairs.

    Raises:
        EngineError: lengths differ, or ``p`` is not between 0 and 1.
    """
    values, right = _checked(p, good)
    if not len(values):
        return float("nan")
    if values.min() < 0 or values.max() > 1:
        raise EngineError(f"probabilities are {values.min():g} to {values.max():g}, wanted 0 to 1")
    places = np.minimum((values * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(places, weights=values - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(values))


def _checked(scores: npt.ArrayLike, good: npt.ArrayLike) -> tuple[Floats, Flags]:
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(good, dtype=np.bool_)
    if values.ndim != 1 or values.shape != right.shape:
        raise EngineError(f"scores are {values.shape} and labels {right.shape}, wanted (n,) and (n,)")
    if np.isnan(values).any():
        raise EngineError(f"{int(np.isnan(values).sum())} of {len(values)} scores are not numbers: leave these out")
    return values, right


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
