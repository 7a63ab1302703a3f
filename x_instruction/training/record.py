"""The record that a tuning leaves for the model's card."""

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


def training(
    job: TrainJob,
    tuned: TrainResult,
    pairs: Sequence[Pair],
    dataset: str,
    revision: str,
    settings: Section,
    prompt: str = "",
    task: Literal["answers", "instructions", "ratings"] = "answers",
) -> Training:
    """The record.

    Args:
        job: what was tuned, and how.
        tuned: what happened.
        pairs: what it learned from.
        dataset: name of that.
        revision: digest of that.
        settings: the whole recipe.
        prompt: what the model reads, with ``{instruction}`` in it; empty where it has a chat template or another task.
        task: as the record has it.
    """
    base = locate(job.model.name, job.model.revision)
    asked = {pair.instruction_language for pair in pairs}
    tune = {key: value for key, value in flatten(job.train).items() if value is not None}
    hub, form = embedded.hub_id_and_form(base.name)
    return Training(
        base_model=hub,
        base_revision=base.revision,
        base_note=f"weights of its {form} file, {base.revision}" if form else "",
        base_license=embedded.license_identifier(base.name) or "unknown",
        relation="finetune" if job.train.method == "full" else "adapter",
        task=task,
        dataset=dataset,
        dataset_revision=revision,
        languages=tuple(sorted({language(pair.language).tag for pair in pairs})),
        instruction_language=asked.pop() if len(asked) == 1 else "mul",
        rows=tuned.rows,
        tokens=tuned.tokens,
        steps=tuned.steps,
        seconds=tuned.seconds,
        hardware=tuned.hardware,
        hyperparameters=tune | {"max_tokens": tuned.lengths["max_tokens"]},
        prompt=prompt,
        example=min((pair.instruction for pair in pairs), key=lambda text: (abs(len(text) - 80), text)),
        loss=tuned.loss,
        software=tuned.software,
        configuration=json.dumps(portable(settings), indent=1, ensure_ascii=False),
    )


def write(folder: Path, record: Training, license: str = "", link: str = "") -> None:
    """Write the record into a model's folder.

    Args:
        license, link: of the base, where a recipe says them.
    """
    if license or link:
        record = record.replace(base_license=license or record.base_license, base_license_link=link)
    (folder / TRAINING).write_text(text(record), "utf-8")
