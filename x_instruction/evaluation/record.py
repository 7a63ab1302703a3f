"""Results of evaluations as records of Every Eval Ever 0.3.0, the one source of cards, tables and comparisons.

    <folder>/<name>.json             one record: the model, the data, and metrics with their intervals
    <folder>/<name>_samples.jsonl    its instances: one line for each metric and sample

A record is checked against the schemas when it is written and when it is read (``every_eval_ever``).
"""

from __future__ import annotations

import datetime
import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from x_instruction.config.section import flatten
from x_instruction.errors import CorpusError, RecipeError, RunChanged, differences
from x_instruction.evaluation.every_eval_ever import (
    SCHEMA_VERSION,
    canonical,
    check_schema,
    date_of,
    document_of,
    instance_row,
    read_instance,
    read_metric,
    read_model,
    settings_of,
)
from x_instruction.evaluation.metric import Instance, Metric, ModelInfo
from x_instruction.hashing import digest
from x_instruction.storage.atomic import atomic, file_digest

SAMPLES = "_samples.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record that was read.

    Args:
        path: its file.
        id: its ``evaluation_id``.
        date: day of the evaluation, such as ``2026-11-27``; empty if it is not stated.
        model: the model that was evaluated.
        metrics: its figures.
        settings: all settings of the evaluation; empty for records of other tools.
        samples: file of its instances; None if it has none.
    """

    path: Path
    id: str
    date: str
    model: ModelInfo
    metrics: tuple[Metric, ...]
    settings: Mapping[str, Any]
    samples: Path | None


def check_target(
    folder: Path, name: str, model: ModelInfo, settings: Mapping[str, Any], overwrite: bool = False
) -> Path:
    """The path of a record that may be written. Call it before the evaluation, which may take hours.

    Args:
        folder: the folder of the results.
        name: name of the record, such as ``benchmarks``.
        model: the model that is evaluated.
        settings: everything that decides the results, as plain data.
        overwrite: replace results of other settings.

    Raises:
        RunChanged: the folder has results of another model or of other settings, and ``overwrite`` is not set.
        CorpusError: the file there is not a record. It is not overwritten in any case.
    """
    path = folder / f"{name}.json"
    if path.exists():
        old = read_record(path)
        changed = differences(
            _decisive(old.model, old.settings), _decisive(model, json.loads(canonical(settings))), str
        )
        if changed and not overwrite:
            raise RunChanged(str(path), changed)
    return path


def write_record(
    folder: Path,
    name: str,
    model: ModelInfo,
    metrics: Sequence[Metric],
    instances: Iterable[Instance],
    *,
    settings: Mapping[str, Any],
    generation: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    when: datetime.datetime | None = None,
) -> Path:
    """Write a record, with its instances beside it. The record is written last: if it exists, both are complete.

    Args:
        folder: the folder of the results; it is created.
        name: name of the record, such as ``benchmarks``.
        model: the model that was evaluated.
        metrics: its figures.
        instances: the samples behind them, in any order. Read once, so it may be a generator.
        settings: everything that decides the results, as plain data: written into the record, and compared with those
            of a record that exists.
        generation: parameters of generation; those without a field in the schema belong to ``settings``.
        overwrite: replace results of other settings.
        when: time of the evaluation, now by default.

    Raises:
        RunChanged: the folder has results of other settings, and ``overwrite`` is not set.
        RecipeError: two metrics have one id, an instance has none of the metrics, or a figure is not a number.
    """
    path = check_target(folder, name, model, settings, overwrite)
    _check_metrics(metrics)
    when = when or datetime.datetime.now(datetime.UTC)
    document = document_of(name, model, metrics, settings, generation or {}, when)
    check_schema("eval.schema.json", document, str(path))
    samples = samples_of(path)
    # A stop between the two files leaves a record whose checksum does not fit, and reading it says so.
    if rows := _write_samples(samples, instances, document["evaluation_id"], model, {metric.id for metric in metrics}):
        document["detailed_evaluation_results"] = _detailed(samples, name, model, document["evaluation_id"], rows)
    with atomic(path) as stream:
        stream.write((json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return path


def _write_samples(
    path: Path, instances: Iterable[Instance], record_id: str, model: ModelInfo, metrics: Set[str]
) -> int:
    """Write the instance file, and return its number of lines. Without instances there is no file."""
    rows = 0
    with atomic(path) as stream:
        for instance in instances:
            if instance.metric not in metrics:
                raise RecipeError(
                    f"instance {instance.id} is of {instance.metric!r}, expected one of {', '.join(sorted(metrics))}"
                )
            row = instance_row(instance, record_id, model)
            check_schema("instance_level_eval.schema.json", row, f"instance {instance.id}")
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            rows += 1
    if not rows:
        path.unlink()
    return rows


def read_record(path: Path) -> Record:
    """Read a record and check it against the schema.

    Raises:
        CorpusError: it cannot be read, is of another schema version, or does not follow the schema.
    """
    document = _json(path)
    if not isinstance(document, dict) or "schema_version" not in document:
        raise CorpusError(
            f"{path} is not a record of an evaluation: expected a JSON object with schema_version, which the commands "
            "of `x-instruction eval` write"
        )
    if document["schema_version"] != SCHEMA_VERSION:
        raise CorpusError(
            f"{path} has schema_version {document['schema_version']!r}, expected {SCHEMA_VERSION!r}: convert it with "
            "the tools of every_eval_ever, or evaluate again"
        )
    check_schema("eval.schema.json", document, str(path))
    samples = samples_of(path)
    return Record(
        path=path,
        id=document["evaluation_id"],
        date=date_of(document),
        model=read_model(document["model_info"]),
        metrics=tuple(read_metric(result) for result in document["evaluation_results"]),
        settings=settings_of(document["eval_library"]),
        samples=samples if "detailed_evaluation_results" in document else None,
    )


def read_records(path: Path) -> list[Record]:
    """The record of a file, or those of a folder in the order of their names.

    Raises:
        CorpusError: there is none, or one cannot be read.
    """
    if not path.is_dir():
        return [read_record(path)]
    # A folder of results may hold other JSON files, such as caches.
    found = [file for file in sorted(path.glob("*.json")) if is_record(file)]
    if not found:
        raise CorpusError(f"{path} has no record of an evaluation: expected a folder that `x-instruction eval` wrote")
    return [read_record(file) for file in found]


def is_record(path: Path) -> bool:
    """True if a file states a schema version, as records do."""
    try:
        document = _json(path)
    except CorpusError:
        return False
    return isinstance(document, dict) and "schema_version" in document and "evaluation_id" in document


def read_instances(record: Record) -> Iterator[Instance]:
    """The instances of a record; none if it has no instance file.

    Raises:
        CorpusError: the file is missing, is not the one that was written with the record, or has a damaged line.
    """
    if record.samples is None:
        return
    document = _json(record.path)["detailed_evaluation_results"]
    if not record.samples.is_file():
        raise CorpusError(f"{record.samples} is missing, which {record.path.name} names: copy it beside the record")
    if document.get("hash_algorithm") == "sha256" and file_digest(record.samples) != document.get("checksum"):
        raise CorpusError(f"{record.samples} is not the file that was written with {record.path.name}: copy both again")
    with open(record.samples, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{record.samples}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"{where} is not JSON ({error})") from error
            check_schema("instance_level_eval.schema.json", row, where)
            yield read_instance(row)


def samples_of(path: Path) -> Path:
    """The file of a record's instances."""
    return path.with_name(path.stem + SAMPLES)


def _check_metrics(metrics: Sequence[Metric]) -> None:
    seen = set()
    for metric in metrics:
        if not math.isfinite(metric.value):
            raise RecipeError(f"{metric.id} is {metric.value}, expected a number: leave out what was not measured")
        if metric.id in seen:
            raise RecipeError(f"two metrics are {metric.id}, expected one: tell them apart by their parameters")
        seen.add(metric.id)
        if metric.data.benchmark_task and not metric.data.on_hub:
            raise RecipeError(
                f"{metric.id} has the benchmark task {metric.data.benchmark_task!r} of {metric.data.name!r}, expected "
                "data on the Hub"
            )


def _detailed(samples: Path, name: str, model: ModelInfo, record_id: str, rows: int) -> dict[str, Any]:
    """The reference to the instances. The schema asks for their path in the project's public data store."""
    developer, _, short = model.name.rpartition("/")
    parts = [part.replace("/", "_") or "local" for part in (name, developer, short)]
    identifier = uuid.UUID(digest(record_id), version=4)
    return {
        "format": "jsonl",
        "file_path": f"data/{'/'.join(parts)}/{identifier}{SAMPLES}",
        "hash_algorithm": "sha256",
        "checksum": file_digest(samples),
        "total_rows": rows,
    }


def _decisive(model: ModelInfo, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides results, as dotted keys."""
    return flatten({"model": asdict(model)}) | flatten(settings)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not JSON ({error}): write it again") from error
