"""Records of the measures that need no judge: held-out rows, representations and raters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x_instruction.evaluation.held_out import ALL, Measurement, RowResult, summary
from x_instruction.evaluation.intrinsic import Conditional, intrinsic_metrics
from x_instruction.evaluation.metric import Data, Instance, Metric, ModelInfo
from x_instruction.evaluation.record import write_record
from x_instruction.hashing import digest

if TYPE_CHECKING:
    from x_instruction.evaluation.representations import Alignment
    from x_instruction.refine.compare import RaterMetrics

HELD_OUT, REPRESENTATIONS, RATERS = "held-out", "representations", "raters"


def write_held_out(
    folder: Path, model: ModelInfo, measurement: Measurement, settings: Mapping[str, Any], overwrite: bool = False
) -> Path:
    """Write the record ``held-out.json``, with the language and the conditional gain of every row.

    Args:
        folder: the folder of the record.
        model: the model that was evaluated.
        measurement: its results.
        settings: everything that decides them; ``data`` names the files.
        overwrite: replace results of other settings.

    Raises:
        RunChanged: the folder has results of other settings.
    """
    results = measurement.results
    data = Data(name=", ".join(settings["data"]), revision=digest([[row.id, row.text] for row in results]))
    metrics = held_out_metrics(results, data)
    return write_record(
        folder, HELD_OUT, model, metrics, _row_instances(results, data), settings=settings, overwrite=overwrite
    )


def held_out_metrics(results: Sequence[RowResult], data: Data) -> list[Metric]:
    """The metrics of held-out rows, per language and over all."""
    metrics = []
    for name, found in summary(results).items():
        for figure, value, ends, better, unit in (
            ("bits_per_byte", found.bits_per_byte, found.bits_per_byte_interval, False, "bits per byte"),
            ("language_accuracy", found.language_accuracy, found.language_accuracy_interval, True, "proportion"),
            ("score", found.score, found.score_interval, True, "proportion"),
        ):
            metrics.append(_metric(HELD_OUT, figure, value, ends, found.rows, data, name, better, unit))
    if measured := conditionals(results):
        for name, gains in intrinsic_metrics(measured).items():
            gain = _metric(
                HELD_OUT, "conditional_gain", gains.gain, gains.gain_interval, gains.rows, data, name, True, "nats"
            )
            own = ("own_response_found", gains.found, gains.found_interval)
            notes = f"chance is {gains.chance:.3f}"
            metrics += [gain, _metric(HELD_OUT, *own, gains.rows, data, name, True, "proportion", notes)]
    return metrics


def conditionals(results: Sequence[RowResult]) -> list[Conditional]:
    """The conditional gains of results; empty if they were not measured."""
    return [Conditional(row.id, row.language, row.gain, bool(row.found)) for row in results if row.gain is not None]


def _row_instances(results: Sequence[RowResult], data: Data) -> Iterator[Instance]:
    names = {metric.id for metric in held_out_metrics(results, data)}
    for row in results:
        scores = {
            "language_accuracy": float(row.in_language),
            "conditional_gain": row.gain,
            "own_response_found": None if row.found is None else float(row.found),
        }
        for figure, score in scores.items():
            for language in (row.language, ALL):
                metric = f"{HELD_OUT}/{language}/{figure}"
                if score is not None and metric in names:
                    yield Instance(
                        metric=metric,
                        id=f"{row.language}/{row.id}",
                        input=row.text,
                        outputs=(row.answer,) if figure == "language_accuracy" else (),
                        score=score,
                        correct=score > 0,
                        details={"bits": f"{row.bits:.4f}", "bytes": str(row.bytes)},
                    )


def write_representations(
    folder: Path,
    model: ModelInfo,
    alignments: Sequence[Alignment],
    settings: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write the record ``representations.json``.

    Raises:
        RunChanged: the folder has results of other settings.
    """
    data = Data(name=", ".join(settings["data"]))
    metrics = []
    for found in alignments:
        for figure, value, better, unit in (
            ("retrieval", found.retrieval, True, "proportion"),
            ("gap", found.gap, True, "cosine"),
            ("uniformity", found.uniformity, False, "logarithm"),
        ):
            common = (found.pairs, data, found.language, better, unit, "", {"layer": found.layer})
            metrics.append(_metric(REPRESENTATIONS, figure, value, None, *common))
    return write_record(folder, REPRESENTATIONS, model, metrics, [], settings=settings, overwrite=overwrite)


def write_raters(
    folder: Path,
    models: Mapping[str, ModelInfo],
    measured: Sequence[RaterMetrics],
    settings: Mapping[str, Mapping[str, Any]],
    overwrite: bool = False,
) -> list[Path]:
    """Write a record ``raters-NAME.json`` for each rater.

    Args:
        folder: the folder of the records.
        models: the model behind each rater.
        measured: the figures of all raters.
        settings: by rater, everything that decides its figures; ``labels`` names the file of pairs.
        overwrite: replace results of other settings.

    Raises:
        RunChanged: the folder has results of other settings.
    """
    paths = []
    for rater, model in models.items():
        data = Data(name=str(settings[rater]["labels"]))
        metrics = [m for found in measured if found.rater == rater for m in _rater_metrics(found, data)]
        name = f"{RATERS}-{rater}"
        paths.append(write_record(folder, name, model, metrics, [], settings=settings[rater], overwrite=overwrite))
    return paths


def _rater_metrics(found: RaterMetrics, data: Data) -> Iterator[Metric]:
    for figure, (value, *ends), better in (
        ("auroc_best_worst", found.best_worst, True),
        ("auroc_best_rest", found.best_rest, True),
        ("precision", (found.precision,), True),
        ("recall", (found.recall,), True),
        ("calibration_error", (found.calibration_error,), False),
    ):
        if not math.isnan(value):
            interval = (ends[0], ends[1]) if ends else None
            common = (found.pairs, data, found.language, better, "proportion", "", {"rater": found.rater})
            yield _metric(RATERS, figure, value, interval, *common)


def _metric(
    task: str,
    name: str,
    value: float,
    ends: tuple[float, float] | None,
    number: int,
    data: Data,
    language: str,
    better: bool,
    unit: str,
    notes: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> Metric:
    share = unit == "proportion"
    return Metric(
        task=task,
        name=name,
        value=value,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        n=number,
        data=data,
        language="" if language == ALL else language,
        higher_is_better=better,
        minimum=0.0 if share or unit == "bits per byte" else None,
        maximum=1.0 if share else None,
        unit=unit,
        interval_method="bootstrap by row",
        parameters=parameters or {},
        notes=notes,
    )
