"""Figures and differences with intervals that vary documents and seeds, and what they say of a claim.

A table has a value for every row and seed: rows of one document are drawn together, because translations of a page
rise and fall together, and seeds are drawn as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from x_instruction.errors import CorpusError
from x_instruction.experiments.claims.design import Claim, Expectation
from x_instruction.hashing import derive_seed

Array = npt.NDArray[np.float64]
Verdict = Literal["shown", "contradicted", "open", "not measured"]
DRAWS = 2_000
# Standard errors that an effect must have to be found in 8 of 10 experiments, at 95 %.
POWER = 2.8


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value or difference.

    Args:
        experiment, measure, arm: what was measured.
        baseline: what it is compared with; empty for a value.
        group: which held-out documents.
        value: the mean, or the difference of the means.
        low, high: ends of the 95 % interval.
        rows, documents, seeds: what it rests on.
        smallest: the difference that would have been found with a power of 0.8.
        unit: of the value; empty for shares.
    """

    experiment: str
    measure: str
    arm: str
    value: float
    low: float
    high: float
    rows: int
    documents: int
    seeds: int
    baseline: str = ""
    group: str = "all"
    smallest: float = float("nan")
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """A measure of one arm.

    Args:
        documents: the document of each row.
        values: ``(seeds, rows)``. NaN where a row was not measured.
    """

    documents: Sequence[str]
    values: Array


def mean(experiment: str, measure: str, arm: str, own: Values, group: str = "all", unit: str = "") -> Figure:
    """The mean over rows and seeds."""
    return _figure(own.documents, own.values, experiment, measure, arm, "", group, unit)


def paired(
    experiment: str,
    measure: str,
    arm: str,
    own: Values,
    baseline: str,
    other: Values,
    group: str = "all",
    unit: str = "",
) -> Figure:
    """The mean difference over the rows of two arms, in the same order. An arm with one seed is compared with each.

    Raises:
        CorpusError: the rows differ, or the numbers of seeds do.
    """
    if list(own.documents) != list(other.documents):
        raise CorpusError(f"{arm} and {baseline} were measured on different rows")
    if len(own.values) != len(other.values) and 1 not in (len(own.values), len(other.values)):
        raise CorpusError(f"{arm} has {len(own.values)} seeds and {baseline} {len(other.values)}, expected as many")
    return _figure(own.documents, own.values - other.values, experiment, measure, arm, baseline, group, unit)


def ranked(
    experiment: str,
    measure: str,
    arm: str,
    documents: Sequence[str],
    own: Sequence[Callable[[Array], Array]],
    baseline: str = "",
    other: Sequence[Callable[[Array], Array]] = (),
    group: str = "all",
    unit: str = "",
) -> Figure:
    """A figure of ``ranking``, or its difference to a baseline: the mean over the seeds, which are drawn as well.

    Args:
        experiment, measure, arm, baseline, group, unit: names of the figure.
        documents: the document of each pair.
        own: the figure for each seed.
        other: that of the baseline: for each seed, or one for all.

    Raises:
        CorpusError: the numbers of seeds differ.
    """
    if other and len(other) not in (1, len(own)):
        raise CorpusError(f"{arm} has {len(own)} seeds and {baseline} {len(other)}, expected as many")
    names = np.unique(np.asarray(documents))
    random = np.random.default_rng(derive_seed(0, experiment, measure, arm, baseline, group))
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    seeds = random.multinomial(len(own), np.full(len(own), 1 / len(own)), size=DRAWS) / len(own)
    draws = np.vstack([np.ones(len(names)), drawn])
    values = np.column_stack([figure(draws) for figure in own])
    if other:
        values = values - np.column_stack([figure(draws) for figure in other])
    low, high, spread = _ends((values[1:] * seeds).sum(axis=1))
    value = float(values[0].mean())
    return Figure(
        experiment,
        measure,
        arm,
        value,
        low,
        high,
        len(documents),
        len(names),
        len(own),
        baseline,
        group,
        spread,
        unit,
    )


def _figure(
    documents: Sequence[str],
    values: Array,
    experiment: str,
    measure: str,
    arm: str,
    baseline: str,
    group: str,
    unit: str,
) -> Figure:
    names, owner = np.unique(np.asarray(documents), return_inverse=True)
    known = ~np.isnan(values)
    if not known.any():
        raise CorpusError(f"{arm} has no value of {measure}: no row was measured")
    # Sums and numbers of values by seed and document, so that a draw is two products.
    sums = np.stack([np.bincount(owner, np.where(k, v, 0.0), len(names)) for v, k in zip(values, known, strict=True)])
    counts = np.stack([np.bincount(owner, k.astype(np.float64), len(names)) for k in known])
    random = np.random.default_rng(derive_seed(0, experiment, measure, arm, baseline, group))
    drawn = []
    for _ in range(DRAWS):
        seeds = np.bincount(random.integers(len(values), size=len(values)), minlength=len(values))
        chosen = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
        total = float(seeds @ counts @ chosen)
        drawn.append(float(seeds @ sums @ chosen) / total if total else np.nan)
    low, high, spread = _ends(np.array(drawn))
    return Figure(
        experiment,
        measure,
        arm,
        float(sums.sum() / counts.sum()),
        low,
        high,
        int(known.any(axis=0).sum()),
        len({documents[int(row)] for row in np.nonzero(known.any(axis=0))[0]}),
        len(values),
        baseline,
        group,
        spread,
        unit,
    )


def _ends(drawn: Array) -> tuple[float, float, float]:
    numbers = drawn[~np.isnan(drawn)]
    if not len(numbers):
        return float("nan"), float("nan"), float("nan")
    low, high = np.percentile(numbers, (2.5, 97.5)).tolist()
    return low, high, POWER * float(numbers.std())


def find(figures: Sequence[Figure], claim: Claim, expected: Expectation) -> Figure | None:
    """The figure of a comparison, or None if it was not measured."""
    key = (claim.experiment, expected.measure, expected.arm, expected.baseline, expected.group)
    return next((f for f in figures if (f.experiment, f.measure, f.arm, f.baseline, f.group) == key), None)


def verdict(expected: Expectation, figure: Figure | None) -> Verdict:
    """What a figure says of a comparison: see ``test`` in the design.

    A difference whose expectation begins below 0 has no side, and stays open.
    """
    if figure is None or np.isnan(figure.low):
        return "not measured"
    if not expected.baseline:
        least = expected.low
    elif expected.low >= 0:
        least = 0.0
    else:
        return "open"
    return "shown" if figure.low > least else "contradicted" if figure.high < least else "open"


def by_group(names: Sequence[str], own: Values) -> dict[str, Values]:
    """The values of each group of rows that has some, and of ``all``.

    Args:
        names: the group of each row.
        own: the values.
    """
    found = {"all": own}
    for name in dict.fromkeys(names):
        rows = [row for row, other in enumerate(names) if other == name]
        values = own.values[:, rows]
        if not np.isnan(values).all():
            found[name] = Values([own.documents[row] for row in rows], values)
    return found
