"""The card of a model and its results in the Hub's own formats, both made from records alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from x_instruction import __version__
from x_instruction.cards.escaping import plain
from x_instruction.cards.licenses import hub_license
from x_instruction.cards.records import Figure, ModelRecords, Training
from x_instruction.cards.templates import counted, render
from x_instruction.engines.embedded import MODELS
from x_instruction.errors import RecipeError
from x_instruction.evaluation.metric import Metric
from x_instruction.languages import language

# The Hub's identifiers for licences of models alone.
MODEL_LICENSES = frozenset(
    {
        *("gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "bigscience-bloom-rail-1.0"),
        *("bigscience-openrail-m", "openrail++", "bigcode-openrail-m", "creativeml-openrail-m", "apple-amlr"),
        *("bsd", "bsd-2-clause", "bsd-3-clause", "isc", "afl-3.0", "artistic-2.0", "bsl-1.0", "eupl-1.2", "wtfpl"),
    }
)
SPELLINGS = {"gemma-terms-of-use": "gemma", "llama-2-community-license": "llama2"}
# Task of a model: the Hub's identifier, and a description.
TASKS = {
    "answers": ("text-generation", "Text generation"),
    "instructions": ("text-generation", "Instructions for texts"),
    "ratings": ("text-classification", "Rating of pairs"),
}
HUB_ID = re.compile(r"[A-Za-z0-9](?!.*(?:--|\.\.))[\w.-]*/[A-Za-z0-9][\w.-]*")


def model_card(records: ModelRecords, repository: str) -> str:
    """The README of a model: metadata and body.

    Args:
        records: The records of its training and evaluation.
        repository: Its id on the Hub, which the example loads.

    Raises:
        RecipeError: The licence of the base model is unknown, or it has no id on the Hub.
    """
    training = records.training
    if not HUB_ID.fullmatch(training.base_model):
        raise RecipeError(
            f"base_model is {training.base_model!r}, expected the id of a model on the Hub such as org/name: others "
            "need the base model to use this one; publish it, or name the model that it came from"
        )
    values = {
        "repository": repository,
        "name": repository.rpartition("/")[2],
        "training": training,
        "figures": records.figures,
        "evaluated_data": dict.fromkeys(
            (figure.metric.data.name, figure.metric.data.revision) for figure in records.figures
        ),
        "licence": license_of(training),
        "languages": [language(tag) for tag in training.languages],
        "base_in_recipe": _in_recipe(training),
        "dataset_on_hub": bool(HUB_ID.fullmatch(training.dataset)),
        "version": __version__,
    }
    return f"---\n{_metadata(records, repository).to_yaml()}\n---\n\n{render('model.md.jinja', values)}"


def license_of(training: Training) -> dict[str, str]:
    """Card metadata for the licence, which is that of the base model.

    Raises:
        RecipeError: It is unknown, or it has neither an identifier nor an address.
    """
    stated = training.base_license.strip()
    identifier = _identifier(stated)
    if not stated or identifier == "unknown":
        raise RecipeError(
            f"the licence of {training.base_model} is unknown, and this model has the same: read its card and pass "
            "--base-license to `hub push-model`, with --base-license-link if it is not a standard one, or set "
            "base_license and base_license_link in the training record"
        )
    if identifier is not None:
        return {"license": identifier}
    if not re.fullmatch(r"https://[\w./%?=&#:~+-]+", training.base_license_link):
        raise RecipeError(
            f"the Hub has no identifier for the licence {stated!r} of {training.base_model}: pass the https:// address "
            "of its text as --base-license-link to `hub push-model`, or set base_license_link in the training record"
        )
    name = re.sub(r"[^a-z0-9.]+", "-", stated.lower()).strip("-")
    return {"license": "other", "license_name": name, "license_link": training.base_license_link}


def eval_results(figures: Iterable[Figure]) -> dict[str, str]:
    """Files of ``.eval_results``: path to YAML, one for each benchmark that is registered on the Hub."""
    entries: dict[str, list[EvalResultEntry]] = {}
    for figure in figures:
        metric, data = figure.metric, figure.metric.data
        if data.benchmark_task and data.on_hub:
            interval = "95 % interval {:.3f} to {:.3f}".format(*metric.interval) if metric.interval else ""
            notes = (metric.name, metric.language, counted(metric.n, "row"), interval, metric.notes)
            entry = EvalResultEntry(
                dataset_id=data.name,
                task_id=data.benchmark_task,
                value=metric.value,
                dataset_revision=data.revision or None,
                date=figure.date or None,
                notes="; ".join(note for note in notes if note),
            )
            entries.setdefault(data.name, []).append(entry)
    return {
        f".eval_results/{dataset.replace('/', '--')}.yaml": yaml.safe_dump(
            eval_result_entries_to_yaml(several), sort_keys=False, allow_unicode=True
        )
        for dataset, several in entries.items()
    }


def _identifier(stated: str) -> str | None:
    name = re.sub(r"[\s_]+", "-", stated.lower())
    name = SPELLINGS.get(name, name)
    return name if name in MODEL_LICENSES else hub_license(stated)


def _metadata(records: ModelRecords, repository: str) -> Any:
    training = records.training
    # The Hub's field for languages takes two or three letters.
    subtags = dict.fromkeys(tag.partition("-")[0] for tag in (*training.languages, training.instruction_language))
    return ModelCardData(
        model_name=repository.rpartition("/")[2],
        language=list(subtags),
        library_name="peft" if training.relation == "adapter" else "transformers",
        pipeline_tag="text-generation",
        base_model=training.base_model,
        base_model_relation=training.relation,
        datasets=[training.dataset] if HUB_ID.fullmatch(training.dataset) else None,
        metrics=sorted({plain(figure.metric.name) for figure in records.figures}) or None,
        tags=["x-instruction", "instruction-tuning", "cross-lingual"],
        eval_results=[_result(figure.metric, training.task) for figure in records.figures] or None,
        **license_of(training),
    )


def _in_recipe(training: Training) -> str:
    """How a recipe names the base model. One that ships with the package has its own name and weights."""
    origin = (training.base_model, training.base_revision)
    return next(
        (name for name, model in MODELS.items() if (model.hub_id, model.revision) == origin), training.base_model
    )


def _result(metric: Metric, task: str) -> EvalResult:
    task_type, description = TASKS[task]
    data = metric.data
    spoken = language(metric.language).name if metric.language else "all languages"
    asked = ", ".join(
        [metric.language or "all", *(f"{key} {value}" for key, value in sorted(metric.parameters.items()))]
    )
    return EvalResult(
        task_type=task_type,
        task_name=f"{description} in {spoken}",
        dataset_type=plain(data.name),
        dataset_name=plain(f"{data.name} ({data.config})" if data.config else data.name),
        dataset_config=plain(data.config) or None,
        dataset_split=plain(data.split) or None,
        dataset_revision=plain(data.revision) or None,
        metric_type=plain(metric.name),
        metric_name=plain(f"{metric.name} ({asked})"),
        metric_value=metric.value,
    )
