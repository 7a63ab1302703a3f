"""Results of evaluations as records of Every Eval Ever 0.3.0, the one source of cards, tables and comparisons.

    <folder>/<name>.json             one record: the model, the data, and metrics with their intervals
    <folder>/<name>_samples.jsonl    its instances: one line for each metric and sample

The JSON Schemas in ``schemas/`` are those of the project (https://github.com/evaleval/every_eval_ever, MIT licence). A
record is checked against them when it is written and when it is read. What they have no field for, such as the language
of a metric, is in their free parameters and details.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from x_instruction import __version__
from x_instruction.config.section import flatten
from x_instruction.errors import CorpusError, RecipeError, RunChanged, differences
from x_instruction.hashing import digest
from x_instruction.records import storable
from x_instruction.storage.atomic import atomic, file_digest

SCHEMA_VERSION = "0.3.0"
SAMPLES = "_samples.jsonl"
CONFIDENCE = 0.95
_LIBRARY = "x_instruction"
# Parameters of generation that the schema has a field for.
_GENERATION = ("temperature", "top_p", "top_k", "max_tokens", "execution_command", "reasoning", "prompt_template")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The model that was evaluated, or that judged.

    Args:
        name: as the user named it: an id on the Hub, or the name of a folder.
        revision: its commit, or the digest of its files.
        engine: name of the engine that ran it, such as ``transformers``.
        engine_version: version of the package behind the engine.
        adapter: LoRA adapter on top of it.
        deployment: ``self_deployed`` or ``externally_managed`` (a service); else ``unknown``.
        availability: ``open_weights`` or ``closed_weights``; else ``unknown``.
    """

    name: str
    revision: str = ""
    engine: str = ""
    engine_version: str = ""
    adapter: str = ""
    deployment: str = "unknown"
    availability: str = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The data of an evaluation.

    Args:
        name: its name, such as ``Belebele``; for data on the Hub the id.
        revision: its commit, or the digest of its content.
        config, split: of a data set on the Hub.
        on_hub: whether ``name`` is an id on the Hub.
        benchmark_task: id of the task, if the data set is registered on the Hub as a benchmark. Its metrics then go
            into ``.eval_results`` of a model's repository.
    """

    name: str
    revision: str = ""
    config: str = ""
    split: str = ""
    on_hub: bool = False
    benchmark_task: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How a model scored the samples of a metric.

    Args:
        judge: the model that judged.
        prompt: its prompt template.
        temperature: of its answers.
    """

    judge: ModelInfo
    prompt: str
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure with its 95 % interval.

    Args:
        task: the evaluation, such as ``belebele`` or ``held-out``.
        name: short name of the metric, such as ``accuracy``.
        value: the figure; shares are between 0 and 1.
        low, high: ends of the interval; None or NaN if there is none.
        n: number of samples that the figure is of.
        data: the data that it is measured on.
        language: tag of the language; empty for a figure over all languages.
        higher_is_better: the direction.
        minimum, maximum: the range of the metric; None if it has no end.
        unit: ``proportion``, ``bits per byte`` and so on.
        interval_method: how the interval was computed, such as ``bootstrap by question``.
        parameters: settings that tell this metric from others of its task and name, such as ``{"shots": 5}``.
        notes: how it was measured, in a sentence.
        judging: the judge, if a model scored the samples.
    """

    task: str
    name: str
    value: float
    n: int
    data: Data
    low: float | None = None
    high: float | None = None
    language: str = ""
    higher_is_better: bool = True
    minimum: float | None = 0.0
    maximum: float | None = 1.0
    unit: str = "proportion"
    interval_method: str = "bootstrap"
    parameters: Mapping[str, str | float | bool | None] = field(default_factory=dict)
    notes: str = ""
    judging: Judging | None = None

    @property
    def id(self) -> str:
        """Identifies the metric in its record, and in records of other models that were evaluated in the same way."""
        parameters = [f"{key}={value}" for key, value in sorted(self.parameters.items())]
        return "/".join([self.task, self.language or "all", self.name, *parameters])

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval, or None."""
        if self.low is None or self.high is None or math.isnan(self.low) or math.isnan(self.high):
            return None
        return self.low, self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One sample of one metric. A sample that counts for several metrics is written once for each.

    Args:
        metric: ``Metric.id``.
        id: id of the sample in its data.
        input: what the model was asked.
        outputs: what it answered; empty if only likelihoods were read.
        score: the sample's share of the metric.
        correct: whether the answer is correct, or good enough.
        references: reference answers.
        choices: of a multiple-choice question.
        extracted: the answer that was read from the output, and how (``method``).
        error: why there is no answer.
        details: anything else, as text, such as the language or the order of two answers.
    """

    metric: str
    id: str
    input: str
    score: float
    correct: bool
    outputs: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    extracted: str = ""
    method: str = ""
    error: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of the input and its references: samples of two records are the same only if it is equal."""
        return hashlib.sha256("".join([self.input, *self.references]).encode("utf-8", "replace")).hexdigest()


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
        changed = differences(_decisive(old.model, old.settings), _decisive(model, json.loads(_canonical(settings))))
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
    document = _document(name, model, metrics, settings, generation or {}, when)
    _check_schema("eval.schema.json", document, str(path))
    samples = samples_of(path)
    # A stop between the two files leaves a record whose checksum does not fit, and reading it says so.
    if rows := _write_samples(samples, instances, document["evaluation_id"], model, {metric.id for metric in metrics}):
        document["detailed_evaluation_results"] = _detailed(samples, name, model, document["evaluation_id"], rows)
    with atomic(path) as stream:
        stream.write((json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return path


def _document(
    name: str,
    model: ModelInfo,
    metrics: Sequence[Metric],
    settings: Mapping[str, Any],
    generation: Mapping[str, Any],
    when: datetime.datetime,
) -> dict[str, Any]:
    """The record without the reference to its instances."""
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{name}/{model.name}/{when.timestamp():.0f}",
        "evaluation_timestamp": when.astimezone(datetime.UTC).isoformat(timespec="seconds"),
        "retrieved_timestamp": f"{when.timestamp():.0f}",
        "source_metadata": {
            "source_name": _LIBRARY,
            "source_type": "evaluation_run",
            "source_organization_name": "not stated",
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": _LIBRARY,
            "version": __version__,
            "additional_details": {"settings": _canonical(settings)},
        },
        "model_info": _model(model),
        "evaluation_results": [_result(metric, generation) for metric in metrics],
    }


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
            row = _instance_row(instance, record_id, model)
            _check_schema("instance_level_eval.schema.json", row, f"instance {instance.id}")
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
    _check_schema("eval.schema.json", document, str(path))
    samples = samples_of(path)
    return Record(
        path=path,
        id=document["evaluation_id"],
        date=_date(document),
        model=_read_model(document["model_info"]),
        metrics=tuple(_read_metric(result) for result in document["evaluation_results"]),
        settings=_settings(document["eval_library"]),
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
            except ValueError as error:
                raise CorpusError(f"{where} is not JSON ({error})") from error
            _check_schema("instance_level_eval.schema.json", row, where)
            yield _read_instance(row)


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


def _model(model: ModelInfo) -> dict[str, Any]:
    details = {"deployment_type": model.deployment, "model_availability": model.availability}
    details |= {key: value for key, value in (("revision", model.revision), ("adapter", model.adapter)) if value}
    made: dict[str, Any] = {"name": model.name, "id": model.name, "additional_details": details}
    if "/" in model.name:
        made["developer"] = model.name.split("/")[0]
    if model.engine:
        made["inference_engine"] = {"name": model.engine}
    if model.engine_version:
        made["inference_engine"]["version"] = model.engine_version
    return made


def _read_model(table: Mapping[str, Any]) -> ModelInfo:
    details, engine = table["additional_details"], table.get("inference_engine", {})
    return ModelInfo(
        name=table["id"],
        revision=details.get("revision", ""),
        engine=engine.get("name", ""),
        engine_version=engine.get("version", ""),
        adapter=details.get("adapter", ""),
        deployment=details["deployment_type"],
        availability=details["model_availability"],
    )


def _result(metric: Metric, generation: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "metric_id": metric.name,
        "metric_name": metric.name,
        "metric_unit": metric.unit,
        "lower_is_better": not metric.higher_is_better,
        "score_type": "continuous",
        "min_score": "-Infinity" if metric.minimum is None else metric.minimum,
        "max_score": "Infinity" if metric.maximum is None else metric.maximum,
        "metric_parameters": {**({"language": metric.language} if metric.language else {}), **metric.parameters},
    }
    if metric.notes:
        config["evaluation_description"] = storable(metric.notes)
    if metric.judging:
        judge: dict[str, Any] = {"model_info": _model(metric.judging.judge)}
        if metric.judging.temperature is not None:
            judge["temperature"] = metric.judging.temperature
        config["llm_scoring"] = {"judges": [judge], "input_prompt": storable(metric.judging.prompt)}
    uncertainty: dict[str, Any] = {"num_samples": metric.n}
    if interval := metric.interval:
        uncertainty["confidence_interval"] = {
            "lower": interval[0],
            "upper": interval[1],
            "confidence_level": CONFIDENCE,
            "method": metric.interval_method,
        }
    result = {
        "evaluation_result_id": metric.id,
        "evaluation_name": metric.task,
        "source_data": _data(metric.data),
        "metric_config": config,
        "score_details": {"score": metric.value, "uncertainty": uncertainty},
    }
    if arguments := {key: generation[key] for key in _GENERATION if key in generation}:
        result["generation_config"] = {"generation_args": arguments}
    return result


def _data(data: Data) -> dict[str, Any]:
    details = {
        key: value
        for key in ("revision", "config", "split", "benchmark_task")
        if (value := getattr(data, key)) and not (data.on_hub and key == "split")
    }
    made: dict[str, Any] = {"dataset_name": data.name, "source_type": "hf_dataset" if data.on_hub else "other"}
    if data.on_hub:
        made["hf_repo"] = data.name
        made |= {"hf_split": data.split} if data.split else {}
    return made | ({"additional_details": details} if details else {})


def _read_data(table: Mapping[str, Any]) -> Data:
    details = table.get("additional_details", {})
    return Data(
        name=table.get("hf_repo", table["dataset_name"]),
        revision=details.get("revision", ""),
        config=details.get("config", ""),
        split=table.get("hf_split", details.get("split", "")),
        on_hub="hf_repo" in table,
        benchmark_task=details.get("benchmark_task", ""),
    )


def _read_metric(result: Mapping[str, Any]) -> Metric:
    config, details = result["metric_config"], result["score_details"]
    uncertainty = details.get("uncertainty", {})
    interval = uncertainty.get("confidence_interval", {})
    parameters = dict(config.get("metric_parameters", {}))
    return Metric(
        task=result["evaluation_name"],
        name=config.get("metric_id") or config.get("metric_name") or "score",
        value=details["score"],
        n=uncertainty.get("num_samples", 0),
        data=_read_data(result["source_data"]),
        low=interval.get("lower"),
        high=interval.get("upper"),
        language=str(parameters.pop("language", "")),
        higher_is_better=not config["lower_is_better"],
        minimum=_end(config.get("min_score")),
        maximum=_end(config.get("max_score")),
        unit=config.get("metric_unit", ""),
        interval_method=interval.get("method", ""),
        parameters=parameters,
        notes=config.get("evaluation_description", ""),
        judging=_read_judging(config.get("llm_scoring")),
    )


def _read_judging(table: Mapping[str, Any] | None) -> Judging | None:
    if table is None:
        return None
    judge = table["judges"][0]
    return Judging(
        judge=_read_model(judge["model_info"]), prompt=table["input_prompt"], temperature=judge.get("temperature")
    )


def _end(value: float | str | None) -> float | None:
    return None if isinstance(value, str) else value


def _instance_row(instance: Instance, record_id: str, model: ModelInfo) -> dict[str, Any]:
    row: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": record_id,
        "model_id": model.name,
        "evaluation_name": instance.metric.split("/")[0],
        "evaluation_result_id": instance.metric,
        "sample_id": storable(instance.id),
        "sample_hash": instance.digest,
        "interaction_type": "single_turn",
        "input": {"raw": storable(instance.input), "reference": list(map(storable, instance.references))},
        "output": {"raw": list(map(storable, instance.outputs))},
        "answer_attribution": [],
        "evaluation": {"score": instance.score, "is_correct": instance.correct},
    }
    if instance.choices:
        row["input"]["choices"] = list(map(storable, instance.choices))
    if instance.extracted or instance.method:
        row["answer_attribution"].append(
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": storable(instance.extracted),
                "extraction_method": instance.method or "exact_match",
                "is_terminal": True,
            }
        )
    if instance.error:
        row["error"] = storable(instance.error)
    if instance.details:
        row["metadata"] = {key: storable(value) for key, value in instance.details.items()}
    return row


def _read_instance(row: Mapping[str, Any]) -> Instance:
    extracted: Mapping[str, Any] = next(iter(row["answer_attribution"]), {})
    output = row.get("output") or {}
    return Instance(
        metric=row.get("evaluation_result_id") or row["evaluation_name"],
        id=row["sample_id"],
        input=row["input"]["raw"],
        score=row["evaluation"]["score"],
        correct=row["evaluation"]["is_correct"],
        outputs=tuple(output.get("raw", ())),
        references=tuple(row["input"]["reference"]),
        choices=tuple(row["input"].get("choices") or ()),
        extracted=extracted.get("extracted_value", ""),
        method=extracted.get("extraction_method", ""),
        error=row.get("error") or "",
        details=row.get("metadata") or {},
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


def _date(document: Mapping[str, Any]) -> str:
    try:
        return datetime.datetime.fromisoformat(document.get("evaluation_timestamp", "")).date().isoformat()
    except ValueError:
        return ""


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, ensure_ascii=False, default=str)


def _decisive(model: ModelInfo, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides results, as dotted keys."""
    return flatten({"model": asdict(model)}) | flatten(settings)


def _settings(library: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a record of ours; none of another tool, which may name anything so."""
    if library["name"] != _LIBRARY:
        return {}
    try:
        settings = json.loads(library.get("additional_details", {}).get("settings", "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not JSON ({error}): write it again") from error


def _check_schema(schema: str, row: Any, where: str) -> None:
    from fastjsonschema import JsonSchemaValueException

    try:
        _validator(schema)(row)
    except JsonSchemaValueException as error:
        said = error.message.removeprefix("data.").removeprefix("data ")
        raise CorpusError(f"{where} does not follow the schema of Every Eval Ever {SCHEMA_VERSION}: {said}") from None


@cache
def _validator(schema: str) -> Callable[[Any], Any]:
    import fastjsonschema

    text = (Path(__file__).parent / "schemas" / schema).read_text("utf-8")
    compiled: Callable[[Any], Any] = fastjsonschema.compile(json.loads(text), use_default=False)
    return compiled
