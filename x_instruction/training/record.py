"""The record of a training that the model card is made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from x_instruction.cards.records import TRAINING, Training, text
from x_instruction.config.section import Section, flatten, portable
from x_instruction.engines import embedded
from x_instruction.engines.models import locate
from x_instruction.languages import language
from x_instruction.seed.pairs import Pair
from x_instruction.training.job import TrainJob, TrainResult


def training_record(
    job: TrainJob,
    result: TrainResult,
    pairs: Sequence[Pair],
    dataset: str,
    revision: str,
    settings: Section,
    prompt: str = "",
    task: Literal["answers", "instructions", "ratings"] = "answers",
) -> Training:
    """The record of a training.

    Args:
        job: the model and how it was trained.
        result: the result of the training.
        pairs: the training pairs.
        dataset: name of the training data.
        revision: digest of the training data.
        settings: the whole recipe.
        prompt: the prompt template with ``{instruction}``; empty for a chat template or another task.
        task: what the model generates.
    """
    base = locate(job.model.name, job.model.revision)
    instruction_languages = {pair.instruction_language for pair in pairs}
    hyperparameters = {key: value for key, value in flatten(job.train).items() if value is not None}
    hub_id, file_format = embedded.hub_id_and_form(base.name)
    return Training(
        base_model=hub_id,
        base_revision=base.revision,
        base_note=f"weights of its {file_format} file, {base.revision}" if file_format else "",
        base_license=embedded.license_identifier(base.name) or "unknown",
        relation="finetune" if job.train.method == "full" else "adapter",
        task=task,
        dataset=dataset,
        dataset_revision=revision,
        languages=tuple(sorted({language(pair.language).tag for pair in pairs})),
        instruction_language=instruction_languages.pop() if len(instruction_languages) == 1 else "mul",
        rows=result.rows,
        tokens=result.tokens,
        steps=result.steps,
        seconds=result.seconds,
        hardware=result.hardware,
        hyperparameters=hyperparameters | {"max_tokens": result.lengths["max_tokens"]},
        prompt=prompt,
        # An instruction of about 80 characters makes a readable example.
        example=min((pair.instruction for pair in pairs), key=lambda text: (abs(len(text) - 80), text)),
        loss=result.loss,
        software=result.software,
        configuration=json.dumps(portable(settings), indent=1, ensure_ascii=False),
    )


def write_record(folder: Path, record: Training, license: str = "", link: str = "") -> None:
    """Write the record to a model's folder.

    Args:
        folder: the model's folder.
        record: the record.
        license, link: licence of the base and its address, if the recipe sets them.
    """
    if license or link:
        record = record.replace(base_license=license or record.base_license, base_license_link=link)
    (folder / TRAINING).write_text(text(record), "utf-8")
