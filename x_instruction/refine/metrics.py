"""Metrics of a rater on pairs with known levels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from x_instruction.errors import EngineError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def auroc(scores: npt.ArrayLike, good: npt.ArrayLike) -> float:
    """Area under the ROC curve: the probability that a good pair has a higher score than a bad one; ties count half.

    Computed from ranks (Hanley and McNeil 1982).

    Args:
        scores: (n,), any scale.
        good: (n,), true for good pairs.

    Returns:
        0 to 1; NaN if there are no good or no bad pairs.

    Raises:
        EngineError: lengths differ, or a score is not a number.
    """
    values, flags = _checked(scores, good)
    positives = int(flags.sum())
    pairs = positives * (len(flags) - positives)
    if not pairs:
        return float("nan")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    # Ranks begin at 1. Equal scores get the mean of their ranks.
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse]
    return float((ranks[flags].sum() - positives * (positives + 1) / 2) / pairs)


def precision_recall(scores: npt.ArrayLike, good: npt.ArrayLike, threshold: float) -> tuple[float, float]:
    """Precision and recall of keeping the pairs that reach a threshold.

    Args:
        scores: (n,).
        good: (n,), true for good pairs.
        threshold: the lowest score that is kept.

    Returns:
        0 to 1 each; NaN if nothing is kept, or nothing is good.

    Raises:
        EngineError: lengths differ, or a score is not a number.
    """
    values, flags = _checked(scores, good)
    kept = values >= threshold
    correct = int((kept & flags).sum())
    return _share(correct, int(kept.sum())), _share(correct, int(flags.sum()))


def calibration_error(p: npt.ArrayLike, good: npt.ArrayLike, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015; Guo et al., arXiv 1706.04599).

    The mean over pairs of ``|mean p - share of good pairs|`` in the bin of the pair. Bins have equal width and include
    their lower bound; the last one also includes 1.

    Args:
        p: (n,), probabilities of being good, 0 to 1.
        good: (n,), true for good pairs.
        bins: number of bins.

    Returns:
        0 to 1; NaN without pairs.

    Raises:
        EngineError: lengths differ, or ``p`` is not between 0 and 1.
    """
    values, flags = _checked(p, good)
    if not len(values):
        return float("nan")
    if values.min() < 0 or values.max() > 1:
        raise EngineError(f"probabilities are {values.min():g} to {values.max():g}, expected 0 to 1")
    bin_numbers = np.minimum((values * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_numbers, weights=values - flags, minlength=bins)
    return float(np.abs(gaps).sum() / len(values))


def _checked(scores: npt.ArrayLike, good: npt.ArrayLike) -> tuple[Floats, Flags]:
    values, flags = np.asarray(scores, dtype=np.float64), np.asarray(good, dtype=np.bool_)
    if values.ndim != 1 or values.shape != flags.shape:
        raise EngineError(f"scores are {values.shape} and labels {flags.shape}, expected (n,) and (n,)")
    if np.isnan(values).any():
        raise EngineError(f"{int(np.isnan(values).sum())} of {len(values)} scores are NaN: remove these rows")
    return values, flags


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
