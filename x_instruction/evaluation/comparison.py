"""Two records side by side: the differences of their metrics, paired by sample where both have instances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from x_instruction.bootstrap import Interval, interval
from x_instruction.errors import CorpusError
from x_instruction.evaluation.agreement import side_by_side
from x_instruction.evaluation.metric import Instance, Metric
from x_instruction.evaluation.record import Record, read_instances

RESAMPLES = 2_000
# A metric is the mean of its samples' scores if it differs by no more than rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric of two records.

    Args:
        record: name of the two files, if a metric is in several records.
        a, b: the metric in each.
        difference: ``b - a``; on the common samples if there are any.
        low, high: 95 % interval of the difference, by a bootstrap over the common samples. None if a record has no
            instances of the metric, or if the metric is not the mean of its samples.
        pairs: number of common samples; 0 if the difference is not paired.
        side_by_side: Pinch's score of B, with its interval, if A is the reference: 50 is parity. None if not paired.
    """

    record: str
    a: Metric
    b: Metric
    difference: float
    low: float | None
    high: float | None
    pairs: int
    side_by_side: tuple[float, Interval] | None = None


def compare(a: Sequence[Record], b: Sequence[Record], seed: int = 0) -> list[Compared]:
    """Compare the metrics that two sets of records have in common, in the order of the first.

    Samples are the same if their ids are equal, and their inputs and references. If a metric is in several records of a
    set, such as those of several systems, records of the same file name are compared.

    Raises:
        CorpusError: they have no metric in common, or a metric is in several records and no file name is in both.
    """
    twice = _twice(a) or _twice(b)
    if not twice:
        return _compare(a, b, "", seed)
    left, right = ({record.path.stem: record for record in records} for records in (a, b))
    common = [name for name in left if name in right]
    if not common:
        raise CorpusError(
            f"{twice}, and no file name is in both folders: name one file of each, such as {a[0].path} {b[0].path}"
        )
    return [row for name in common for row in _compare([left[name]], [right[name]], name, seed)]


def _compare(a: Sequence[Record], b: Sequence[Record], name: str, seed: int) -> list[Compared]:
    left, right = ({metric.id: metric for record in records for metric in record.metrics} for records in (a, b))
    common = [id for id in left if id in right]
    if not common:
        raise CorpusError(
            f"{a[0].path.name} and {b[0].path.name} have no metric in common: the first has {_some(left)}, the second "
            f"{_some(right)}; compare results of the same command and data"
        )
    samples = _scores(a, set(common)), _scores(b, set(common))
    return [_compared(name, left[id], right[id], samples[0].get(id, {}), samples[1].get(id, {}), seed) for id in common]


def _twice(records: Sequence[Record]) -> str:
    """Which metric is in which two records; empty if none is."""
    found: dict[str, Record] = {}
    for record in records:
        for metric in record.metrics:
            if metric.id in found:
                first = found[metric.id].path
                return f"{metric.id} is in {first.name} and {record.path.name} of {record.path.parent}"
            found[metric.id] = record
    return ""


def _some(metrics: Mapping[str, Metric]) -> str:
    names = list(metrics)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _scores(records: Sequence[Record], metrics: set[str]) -> dict[str, dict[tuple[str, str], float]]:
    """Scores by metric and sample."""
    scores: dict[str, dict[tuple[str, str], float]] = {}
    for record in records:
        for instance in read_instances(record):
            if instance.metric in metrics:
                scores.setdefault(instance.metric, {})[_key(instance)] = instance.score
    return scores


def _key(instance: Instance) -> tuple[str, str]:
    return instance.id, instance.digest


def _compared(
    name: str,
    a: Metric,
    b: Metric,
    left: Mapping[tuple[str, str], float],
    right: Mapping[tuple[str, str], float],
    seed: int,
) -> Compared:
    common = [key for key in left if key in right]
    if not common or not (_is_mean(a, left) and _is_mean(b, right)):
        return Compared(name, a, b, b.value - a.value, None, None, 0)
    differences = np.array([right[key] - left[key] for key in common])
    low, high = interval(np.mean, [differences], RESAMPLES, seed)
    sign = 1 if a.higher_is_better else -1
    sides = side_by_side([sign * left[key] for key in common], [sign * right[key] for key in common], seed=seed)
    return Compared(name, a, b, float(differences.mean()), low, high, len(common), sides)


def _is_mean(metric: Metric, scores: Mapping[tuple[str, str], float]) -> bool:
    return math.isclose(metric.value, math.fsum(scores.values()) / len(scores), abs_tol=_ROUNDING)
