"""Figures of trained arms from the measurements of their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from x_instruction.experiments.claims.analysis import Figure, Values, by_group, mean, paired
from x_instruction.experiments.claims.lab import rows_of
from x_instruction.experiments.claims.measures import RowMeasures
from x_instruction.experiments.claims.parts import Result

MEASURES = {"gain": "nats", "found": "", "right": "", "clean": ""}


def figures(
    experiment: str,
    results: Mapping[str, Result],
    seeds: Sequence[int],
    names: Sequence[str],
    comparisons: Sequence[tuple[str, str]],
) -> list[Figure]:
    """Every measure of every arm, and the differences of pairs of arms, by group of prompts.

    Args:
        experiment: name of the experiment.
        results: results of its parts: ``ARM-SEED``, or ``ARM`` for one without a seed.
        seeds: the seeds. Arms are compared over those that both have.
        names: the arms.
        comparisons: pairs of an arm and its baseline.
    """
    found = {name: _seeds(results, name, seeds) for name in names}
    made = []
    for measure, unit in MEASURES.items():
        for name in names:
            for group, own in _values(found[name], measure, sorted(found[name])).items():
                made.append(mean(experiment, measure, name, own, group, unit))
        for name, baseline in comparisons:
            # An arm without seeds, such as the base, is compared with every seed.
            common = sorted(set(found[name]) & set(found[baseline])) if -1 not in found[baseline] else None
            left = _values(found[name], measure, common if common is not None else sorted(found[name]))
            right = _values(found[baseline], measure, common if common is not None else [-1])
            for group in left.keys() & right.keys():
                made.append(paired(experiment, measure, name, left[group], baseline, right[group], group, unit))
    return sorted(made, key=lambda one: (one.measure, one.arm, one.baseline, one.group))


def values(results: Mapping[str, Result], name: str, measure: str, seeds: Sequence[int]) -> dict[str, Values]:
    """A measure of an arm by group of prompts; empty if it was not measured."""
    found = _seeds(results, name, seeds)
    return _values(found, measure, sorted(found))


def _seeds(results: Mapping[str, Result], name: str, seeds: Sequence[int]) -> dict[int, list[RowMeasures]]:
    if name in results:
        return {-1: rows_of(results[name])}
    return {seed: rows_of(results[f"{name}-{seed}"]) for seed in seeds if f"{name}-{seed}" in results}


def _values(found: Mapping[int, list[RowMeasures]], measure: str, seeds: Sequence[int]) -> dict[str, Values]:
    """Values of an arm by group; empty if nothing was measured."""
    if not seeds:
        return {}
    rows = found[seeds[0]]
    table = np.array(
        [[np.nan if (v := getattr(row, measure)) is None else float(v) for row in found[seed]] for seed in seeds]
    )
    if np.isnan(table).all():
        return {}
    # The own response is searched for in some languages only, so a group may have no values.
    return by_group([row.group for row in rows], Values([row.document for row in rows], table))
