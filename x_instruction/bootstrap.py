"""Bootstrap intervals: how far figures vary when their rows are drawn anew, with replacement (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

# Percentiles between which 95 % of the draws lie.
_PERCENTILES = (2.5, 97.5)

Interval = tuple[float, float]


def intervals(
    function: Callable[..., npt.ArrayLike], arrays: Sequence[npt.ArrayLike], draws: int, seed: int
) -> list[Interval]:
    """The 95 % percentile intervals of several figures of the same rows.

    Draws for which a figure is not a number, such as an accuracy without one of the classes, are left out for it.

    Args:
        function: takes the arrays with their rows drawn, and returns a sequence of figures.
        arrays: of equal length. Row ``n`` of all arrays is drawn together.
        draws: number of draws.
        seed: seed of the draws.

    Returns:
        Lower and upper end for each figure; NaN where no draw gives a number.

    Raises:
        ValueError: the lengths differ.
    """
    columns = [np.asarray(array) for array in arrays]
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"arrays have {[len(column) for column in columns]} rows, expected equal numbers")
    rows = len(columns[0])
    random = np.random.default_rng(seed)
    chosen = (random.integers(rows, size=rows) for _ in range(draws if rows else 0))
    figures = np.array([function(*(column[row] for column in columns)) for row in chosen], dtype=np.float64)
    return [_ends(values) for values in figures.T]


def interval(function: Callable[..., float], arrays: Sequence[npt.ArrayLike], draws: int, seed: int) -> Interval:
    """The 95 % percentile interval of one figure. See ``intervals``."""
    found = intervals(lambda *rows: [function(*rows)], arrays, draws, seed)
    return found[0] if found else (float("nan"), float("nan"))


def _ends(values: npt.NDArray[np.float64]) -> Interval:
    numbers = values[~np.isnan(values)]
    if not len(numbers):
        return float("nan"), float("nan")
    low, high = np.percentile(numbers, _PERCENTILES).tolist()
    return low, high
