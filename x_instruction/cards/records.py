"""What a model card shows: the records that training and evaluation leave beside a model.

    <model>/training.json        one ``Training``
    <model>/evaluation/*.json    records of evaluations (``evaluation.record``), or none if nothing was evaluated

An unknown key is an error, so that a misspelt fact is not a missing one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from x_instruction.config.fields import Invalid, Positive, PositiveFloat, Tag, Tags
from x_instruction.config.section import AnySection, Section, validate
from x_instruction.errors import RecipeError
from x_instruction.evaluation.metric import Metric
from x_instruction.evaluation.record import Record, read_record

TRAINING = "training.json"
EVALUATION = "evaluation"
# A list of figures, which earlier versions wrote.
_OLD = "evaluation.json"


def _stated(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty, expected the fact that the card shows")
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


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of an evaluation, and the day of its measurement."""

    metric: Metric
    date: str


@dataclass(frozen=True, slots=True)
class ModelRecords:
    """Everything that a model card is made of."""

    training: Training
    evaluations: tuple[Record, ...] = ()

    @property
    def figures(self) -> list[Figure]:
        """The figures of all evaluations."""
        return [Figure(metric, record.date) for record in self.evaluations for metric in record.metrics]


def read(folder: Path) -> ModelRecords:
    """The records in a model's folder.

    Raises:
        RecipeError: The training record is missing, damaged or incomplete.
        CorpusError: A record of an evaluation is damaged, or of another version.
    """
    path = folder / TRAINING
    if not path.is_file():
        raise RecipeError(
            f"{folder} has no {TRAINING}, which its card is made from: train with `x-instruction train sft`, or write "
            "one with the fields of x_instruction.cards.records.Training"
        )
    training = _record(Training, _json(path), str(path))
    if (folder / _OLD).exists():
        raise RecipeError(
            f"{folder / _OLD} is of an earlier version, expected records in {folder / EVALUATION}: evaluate again, "
            "write the records of `x-instruction eval` into that folder, and remove the file"
        )
    paths = sorted((folder / EVALUATION).glob("*.json"))
    return ModelRecords(training, tuple(read_record(path) for path in paths))


def text(record: Training) -> str:
    """The content of the file of a training record."""
    return json.dumps(record.model_dump(), indent=1, ensure_ascii=False) + "\n"


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
