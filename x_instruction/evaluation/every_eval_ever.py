"""The JSON of Every Eval Ever 0.3.0: metrics and samples as its objects, and back.

The JSON Schemas in ``schemas/`` are those of the project (https://github.com/evaleval/every_eval_ever, MIT licence).
What they have no field for, such as the language of a metric, is in their free parameters and details.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from x_instruction import __version__
from x_instruction.errors import CorpusError
from x_instruction.evaluation.metric import Data, Instance, Judging, Metric, ModelInfo
from x_instruction.records import storable

SCHEMA_VERSION = "0.3.0"
CONFIDENCE = 0.95
_LIBRARY = "x_instruction"
# Parameters of generation that the schema has a field for.
_GENERATION = ("temperature", "top_p", "top_k", "max_tokens", "execution_command", "reasoning", "prompt_template")


def document_of(
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
            "additional_details": {"settings": canonical(settings)},
        },
        "model_info": _model(model),
        "evaluation_results": [_result(metric, generation) for metric in metrics],
    }


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


def read_model(table: Mapping[str, Any]) -> ModelInfo:
    """The model of an object ``model_info``."""
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


def read_metric(result: Mapping[str, Any]) -> Metric:
    """The metric of an object of ``evaluation_results``."""
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
        judge=read_model(judge["model_info"]), prompt=table["input_prompt"], temperature=judge.get("temperature")
    )


def _end(value: float | str | None) -> float | None:
    return None if isinstance(value, str) else value


def instance_row(instance: Instance, record_id: str, model: ModelInfo) -> dict[str, Any]:
    """A line of the instance file."""
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


def read_instance(row: Mapping[str, Any]) -> Instance:
    """The instance of a line."""
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


def date_of(document: Mapping[str, Any]) -> str:
    """The day of an evaluation, such as ``2026-11-27``; empty if it is not stated."""
    try:
        return datetime.datetime.fromisoformat(document.get("evaluation_timestamp", "")).date().isoformat()
    except ValueError:
        return ""


def canonical(settings: Mapping[str, Any]) -> str:
    """Settings as text that is the same for equal settings."""
    return json.dumps(settings, sort_keys=True, ensure_ascii=False, default=str)


def settings_of(library: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a record of ours; none of another tool, which may name anything so."""
    if library["name"] != _LIBRARY:
        return {}
    try:
        settings = json.loads(library.get("additional_details", {}).get("settings", "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def check_schema(schema: str, row: Any, where: str) -> None:
    """Check an object against one of the schemas.

    Args:
        schema: name of the file in ``schemas/``.
        row: the object.
        where: how the error names it.

    Raises:
        CorpusError: it does not follow the schema.
    """
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
