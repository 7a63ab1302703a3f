"""What a model card shows: the records that training and evaluation leave beside a model.

    <model>/training.json      one ``Training``
    <model>/evaluation.json    a list of ``Evaluation``, or no file if nothing was evaluated

Both are plain JSON. An unknown key is an error, so that a misspelt fact is not a missing one.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from x_instruction.config.fields import Invalid, Positive, PositiveFloat, Tag, Tags
from x_instruction.config.section import AnySection, Section, validate
from x_instruction.errors import RecipeError

TRAINING = "training.json"
EVALUATION = "evaluation.json"


def _stated(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty, expected the fact that the card shows")
    return text


def _day(text: str) -> str:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"is {text!r}, expected a day such as 2026-11-21") from None
    return text


Stated = Annotated[str, AfterValidator(_stated)]


class Training(Section):
    """How a model was trained."""

    base_model: Stated
    """Hub id of the model that training started from."""
    base_revision: Stated
    """Commit of the base model."""
    base_note: str = ""
    """Anything else about its weights, such as that they were a quantised file."""
    base_license: str
    """Licence as its card states it: an identifier of the Hub such as `apache-2.0`, or else its own name."""
    base_license_link: str = ""
    """Address of the licence's text, if the Hub has no identifier for it."""
    relation: Literal["adapter", "merge", "finetune"]
    """An adapter alone, an adapter merged into the base, or all weights trained."""
    task: Literal["answers", "instructions", "ratings"] = "answers"
    """What it writes: answers to instructions, instructions for texts (the generator), or ratings of pairs."""
    dataset: Stated
    """Hub id, or a name, of the training data."""
    dataset_revision: Stated
    """Commit of the training data, or the digest of its content."""
    languages: Annotated[Tags, Field(min_length=1)]
    """Languages of the responses."""
    instruction_language: Tag = "en"
    """Language of the instructions."""
    rows: Positive
    """Training rows of one epoch."""
    tokens: Positive
    """Tokens read over all epochs, without padding."""
    steps: Positive
    """Optimizer steps."""
    seconds: PositiveFloat
    """Wall time."""
    hardware: Stated
    """What it ran on, such as `1 x NVIDIA H200`."""
    hyperparameters: Annotated[dict[str, Any], Field(min_length=1)]
    """Name to value, such as `{"learning_rate": 1e-5, "epochs": 3}`."""
    prompt: str = ""
    """What the model reads, with `{instruction}` in it. Empty if the tokenizer has a chat template."""
    example: Stated
    """An instruction to try the model with."""
    loss: float | None = None
    """Mean over the last steps, in nats per token."""
    software: Annotated[dict[str, str], Field(min_length=1)]
    """Package to version."""
    configuration: Stated
    """The whole configuration of the training, as text."""

    @model_validator(mode="after")
    def _prompt_has_a_place(self) -> Self:
        if self.prompt and "{instruction}" not in self.prompt:
            raise Invalid("prompt", f"is {self.prompt[:60]!r}, expected {{instruction}} in it")
        return self


class Evaluation(Section):
    """One figure of an evaluation."""

    dataset: Stated
    """Hub id, or a name, of the evaluation data."""
    dataset_revision: Stated
    """Commit of the evaluation data, or the digest of its content."""
    config: str = "default"
    """Config of that data."""
    split: str = "test"
    """Split of that data."""
    language: Tag
    """Language of the instructions or texts."""
    metric: Stated
    """Short name, such as `accuracy` or `win_rate`."""
    value: float
    """The figure. Shares are between 0 and 1."""
    rows: Positive
    """Rows that it is a mean of."""
    benchmark_task: str = ""
    """Id of the task, if `dataset` is a benchmark that is registered on the Hub. Such figures also go into
    `.eval_results`."""
    date: Annotated[str, AfterValidator(_day)]
    """Day of the measurement, such as `2026-11-21`."""
    notes: str = ""
    """How it was measured, in a sentence: judge, prompt, decoding."""

    @model_validator(mode="after")
    def _benchmark_is_on_the_hub(self) -> Self:
        if self.benchmark_task and self.dataset.count("/") != 1:
            raise Invalid(
                "dataset", f"is {self.dataset!r} and benchmark_task is set, expected the id of a data set on the Hub"
            )
        return self


@dataclass(frozen=True, slots=True)
class ModelRecords:
    """Everything that a model card is made of."""

    training: Training
    evaluations: tuple[Evaluation, ...] = ()


def read(folder: Path) -> ModelRecords:
    """The records in a model's folder.

    Raises:
        RecipeError: The training record is missing, or a record is damaged or incomplete.
    """
    path = folder / TRAINING
    if not path.is_file():
        raise RecipeError(
            f"{folder} has no {TRAINING}, which its card is made from: train with `x-instruction train sft`, or write "
            "one with the fields of x_instruction.cards.records.Training"
        )
    training = _record(Training, _json(path), str(path))
    path = folder / EVALUATION
    rows = _json(path) if path.is_file() else []
    if not isinstance(rows, list):
        raise RecipeError(f"{path} is {_json_type(rows)}, expected a list with an object for each figure")
    evaluations = (_record(Evaluation, row, f"{path}, figure {number}") for number, row in enumerate(rows, 1))
    return ModelRecords(training, tuple(evaluations))


def write(folder: Path, records: ModelRecords) -> None:
    """Write the records into a folder."""
    (folder / TRAINING).write_text(text(records.training), "utf-8")
    (folder / EVALUATION).write_text(text(records.evaluations), "utf-8")


def text(record: Training | tuple[Evaluation, ...]) -> str:
    """The content of a record's file."""
    plain = [each.model_dump() for each in record] if isinstance(record, tuple) else record.model_dump()
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def _json(path: Path) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        return json.loads(path.read_text("utf-8"), parse_constant=refuse)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not JSON ({error}): write it again") from error


def _record(kind: type[AnySection], table: Any, where: str) -> AnySection:
    if not isinstance(table, dict):
        raise RecipeError(f"{where} is {_json_type(table)}, expected an object")
    try:
        return validate(kind, table)
    except RecipeError as error:
        raise type(error)(f"{where}: {error}") from None


def _json_type(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a string", type(None): "null"}.get(type(value), "a number")
