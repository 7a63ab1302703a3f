"""The card of a model, and its results in the Hub's own formats: text from records, nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from x_instruction import __version__
from x_instruction.cards.escaping import JOINERS, plain
from x_instruction.cards.licenses import hub_license
from x_instruction.cards.records import Evaluation, Facts, Training
from x_instruction.cards.templates import render
from x_instruction.engines.embedded import MODELS
from x_instruction.errors import RecipeError
from x_instruction.languages import language

# Identifiers that the Hub has for models' own terms, beside those that text and data carry, too.
MODEL_LICENSES = frozenset(
    {
        *("gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "bigscience-bloom-rail-1.0"),
        *("bigscience-openrail-m", "openrail++", "bigcode-openrail-m", "creativeml-openrail-m", "apple-amlr"),
        *("bsd", "bsd-2-clause", "bsd-3-clause", "isc", "afl-3.0", "artistic-2.0", "bsl-1.0", "eupl-1.2", "wtfpl"),
    }
)
SPELLINGS = {"gemma-terms-of-use": "gemma", "llama-2-community-license": "llama2"}
# What a model does: the Hub's name of such a task, and ours.
TASKS = {
    "answers": ("text-generation", "Text generation"),
    "instructions": ("text-generation", "Instructions for texts"),
    "ratings": ("text-classification", "Rating of pairs"),
}
HUB_ID = re.compile(r"[A-Za-z0-9](?!.*(?:--|\.\.))[\w.-]*/[A-Za-z0-9][\w.-]*")


def model_card(facts: Facts, repository: str) -> str:
    """The README of a model: metadata and body.

    Args:
        facts: the records of its training and evaluation.
        repository: its id on the Hub, which the example loads.

    Raises:
        RecipeError: the base's licence is not known, or the base has no id on the Hub.
    """
    training = facts.training
    if not HUB_ID.fullmatch(training.base_model):
        raise RecipeError(
            f"base_model is {training.base_model!r}, wanted the id of a model on the Hub as org/name: others can only "
            "use what they can get; publish the base, or name where it came from"
        )
    values = {
        "repository": repository,
        "name": repository.rpartition("/")[2],
        "training": training,
        "evaluations": facts.evaluations,
        "licence": license_of(training),
        "languages": [language(tag) for tag in training.languages],
        "base_in_recipe": _in_recipe(training),
        "dataset_on_hub": bool(HUB_ID.fullmatch(training.dataset)),
        "version": __version__,
        "text": _literal,
        "configuration": _code(training.configuration),
        "fence": _fence(training.configuration),
    }
    return f"---\n{_metadata(facts, repository).to_yaml()}\n---\n\n{render('model.md.jinja', values)}"


def license_of(training: Training) -> dict[str, str]:
    """Card metadata for the licence, which is the base's.

    Raises:
        RecipeError: nobody knows it, or it has neither an identifier nor an address.
    """
    stated = training.base_license.strip()
    identifier = _identifier(stated)
    if not stated or identifier == "unknown":
        raise RecipeError(
            f"the licence of {training.base_model} is not known, and that of this model follows from it: read the "
            "base's card and pass --base-license to push-model (and --base-license-link, for terms of its own), or "
            "write base_license into the training record (and base_license_link)"
        )
    if identifier is not None:
        return {"license": identifier}
    if not re.fullmatch(r"https://[\w./%?=&#:~+-]+", training.base_license_link):
        raise RecipeError(
            f"the Hub has no identifier for the licence {stated!r} of {training.base_model}: pass the address of its "
            "text, beginning with https://, to push-model as --base-license-link, or write it into base_license_link "
            "of the training record"
        )
    name = re.sub(r"[^a-z0-9.]+", "-", stated.lower()).strip("-")
    return {"license": "other", "license_name": name, "license_link": training.base_license_link}


def eval_results(evaluations: Iterable[Evaluation]) -> dict[str, str]:
    """Files for ``.eval_results``: path to YAML, one for each benchmark that is registered on the Hub."""
    entries: dict[str, list[EvalResultEntry]] = {}
    for one in evaluations:
        if one.benchmark_task:
            entry = EvalResultEntry(
                dataset_id=one.dataset,
                task_id=one.benchmark_task,
                value=one.value,
                dataset_revision=one.dataset_revision,
                date=one.date,
                notes="; ".join(part for part in (one.metric, one.language, f"{one.rows} rows", one.notes) if part),
            )
            entries.setdefault(one.dataset, []).append(entry)
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


def _metadata(facts: Facts, repository: str) -> Any:
    training = facts.training
    tags = dict.fromkeys(tag.partition("-")[0] for tag in (*training.languages, training.instruction_language))
    return ModelCardData(
        model_name=repository.rpartition("/")[2],
        language=list(tags),
        library_name="peft" if training.relation == "adapter" else "transformers",
        pipeline_tag="text-generation",
        base_model=training.base_model,
        base_model_relation=training.relation,
        datasets=[training.dataset] if HUB_ID.fullmatch(training.dataset) else None,
        metrics=sorted({plain(one.metric) for one in facts.evaluations}) or None,
        tags=["x-instruction", "instruction-tuning", "cross-lingual"],
        eval_results=[_result(one, training.task) for one in facts.evaluations] or None,
        **license_of(training),
    )


def _in_recipe(training: Training) -> str:
    """How a recipe names the base: its origin has other weights than those that the package brings."""
    origin = (training.base_model, training.base_revision)
    return next(
        (name for name, model in MODELS.items() if (model.hub_id, model.revision) == origin), training.base_model
    )


def _result(one: Evaluation, task: str) -> EvalResult:
    kind, said = TASKS[task]
    return EvalResult(
        task_type=kind,
        task_name=f"{said} in {language(one.language).name}",
        dataset_type=plain(one.dataset),
        dataset_name=plain(f"{one.dataset} ({one.config})"),
        dataset_config=plain(one.config),
        dataset_split=plain(one.split),
        dataset_revision=plain(one.dataset_revision),
        metric_type=plain(one.metric),
        metric_name=plain(f"{one.metric} ({one.language})"),
        metric_value=one.value,
    )


def _literal(text: str) -> str:
    """Python source of a text, on one line that no code block can be closed from."""
    return ascii(text).replace("`", "\\x60")


def _code(text: str) -> str:
    """Text of a code block, without what cannot be seen and could turn it around."""
    return "".join(c if c in f"\n\t{JOINERS}" or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text).rstrip()


def _fence(text: str) -> str:
    """A fence of a code block that is longer than any in the text."""
    return "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
