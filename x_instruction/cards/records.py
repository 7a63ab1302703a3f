"""What a model card tells: the records that training and evaluation leave beside a model.

    <model>/training.json      one ``Training``, written by who trained the model
    <model>/evaluation.json    a list of ``Evaluation``; absent where nothing was evaluated

Both are plain JSON with the fields below. An unknown key is an error, so that a typo is no missing fact.
"""

from __future__ import annotations

import dataclasses
import json
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from x_instruction.errors import RecipeError
from x_instruction.languages import language

TRAINING = "training.json"
EVALUATION = "evaluation.json"
Kind = TypeVar("Kind")
_BENCHMARK = "benchmark_task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a model was trained.

    Args:
        base_model: Hub id of the model that it started from.
        base_revision: the base's commit.
        base_note: what else is to be known of the weights that it started from, as that they were a quantised file's.
        base_license: the base's licence as its card states it: an identifier of the Hub such as ``apache-2.0`` or
            ``gemma``, else the licence's own name.
        base_license_link: address of the licence's text; needed where the Hub has no identifier for it.
        relation: ``adapter`` (only the adapter's weights), ``merge`` (adapter added to the base) or ``finetune`` (all
            weights trained).
        task: what it writes: ``answers`` to instructions, ``instructions`` for responses (the method's generator), or
            ``ratings`` of pairs (its rater).
        dataset: Hub id, or a name, of the data that it was trained on.
        dataset_revision: the data's commit, or the digest of its content.
        languages: tags of the languages of the responses.
        instruction_language: tag of the language of the instructions.
        rows: training rows of one epoch.
        tokens: tokens that the model read, over all epochs, padding not counted.
        steps: optimizer steps.
        seconds: wall time of training.
        hardware: what it ran on, as ``1 x NVIDIA H200``.
        hyperparameters: name to value, as ``{"learning_rate": 1e-5, "epochs": 3}``.
        prompt: what the model reads for an instruction, with ``{instruction}`` in it; empty where the tokenizer has a
            chat template.
        example: an instruction to try the model with.
        loss: mean over the last steps, in nats per token.
        software: package to version.
        configuration: the whole configuration of the training, as text.
    """

    base_model: str
    base_revision: str
    base_note: str = ""
    base_license: str
    base_license_link: str = ""
    relation: Literal["adapter", "merge", "finetune"]
    task: Literal["answers", "instructions", "ratings"] = "answers"
    dataset: str
    dataset_revision: str
    languages: tuple[str, ...]
    instruction_language: str = "en"
    rows: int
    tokens: int
    steps: int
    seconds: float
    hardware: str
    hyperparameters: dict[str, Any]
    prompt: str = ""
    example: str
    loss: float | None = None
    software: dict[str, str]
    configuration: str

    def __post_init__(self) -> None:
        _filled(self, "base_model", "base_revision", "dataset", "dataset_revision", "hardware", "example")
        _filled(self, "configuration", "languages", "hyperparameters", "software")
        for name in ("rows", "tokens", "steps", "seconds"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"{name} is {getattr(self, name)}, wanted more than 0")
        for tag in (*self.languages, self.instruction_language):
            language(tag)
        if self.prompt and "{instruction}" not in self.prompt:
            raise RecipeError(f"prompt is {self.prompt[:60]!r}, wanted {{instruction}} in it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One figure of an evaluation.

    Args:
        dataset: Hub id, or a name, of the data that it was measured on.
        dataset_revision: the data's commit, or the digest of its content.
        config, split: of that data.
        language: tag of the language that was asked for.
        metric: short name, as ``accuracy`` or ``win_rate``.
        value: the figure; a share is between 0 and 1.
        rows: rows that it is a mean of.
        benchmark_task: the task's id where ``dataset`` is a benchmark that is registered on the Hub; such figures go
            into ``.eval_results``, too.
        date: when it was measured, as ``2026-11-21``.
        notes: how, in a sentence: judge, prompt, decoding.
    """

    dataset: str
    dataset_revision: str
    config: str = "default"
    split: str = "test"
    language: str
    metric: str
    value: float
    rows: int
    benchmark_task: str = ""
    date: str
    notes: str = ""

    def __post_init__(self) -> None:
        _filled(self, "dataset", "dataset_revision", "metric")
        language(self.language)
        if not self.rows > 0:
            raise RecipeError(f"rows is {self.rows}, wanted more than 0")
        if self.benchmark_task and self.dataset.count("/") != 1:
            raise RecipeError(
                f"{_BENCHMARK} is given and dataset is {self.dataset!r}, wanted a data set's id on the Hub"
            )
        _date(self.date)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a model card is made of."""

    training: Training
    evaluations: tuple[Evaluation, ...] = field(default=())


def read(folder: Path) -> Facts:
    """The records beside a model.

    Raises:
        RecipeError: the training record is missing, or one of them is damaged or says too little.
    """
    path = folder / TRAINING
    if not path.is_file():
        raise RecipeError(
            f"{folder} has no {TRAINING}, and a card cannot be made without it: train with `x-instruction train sft`, "
            "or write one with the fields of x_instruction.cards.records.Training"
        )
    training = _of(Training, _json(path), str(path))
    path = folder / EVALUATION
    rows = _json(path) if path.is_file() else []
    if not isinstance(rows, list):
        raise RecipeError(f"{path} holds {_kind(rows)}, wanted a list with one object for each figure")
    return Facts(training, tuple(_of(Evaluation, row, f"{path}, figure {n}") for n, row in enumerate(rows, 1)))


def write(folder: Path, facts: Facts) -> None:
    """Write the records into a folder."""
    (folder / TRAINING).write_text(text(facts.training), "utf-8")
    (folder / EVALUATION).write_text(text(facts.evaluations), "utf-8")


def text(record: Training | tuple[Evaluation, ...]) -> str:
    """What the file of a record holds."""
    plain = [dataclasses.asdict(one) for one in record] if isinstance(record, tuple) else dataclasses.asdict(record)
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def _json(path: Path) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(path.read_text("utf-8"), parse_constant=refuse)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not JSON ({error}): write it anew") from error


def _of(kind: type[Kind], table: Any, where: str) -> Kind:
    if not isinstance(table, dict):
        raise RecipeError(f"{where} holds {_kind(table)}, wanted an object")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(table.keys() - fields.keys()):
        raise RecipeError(f"{where} has the unknown key {unknown[0]!r} (known: {', '.join(fields)})")
    needed = [f.name for f in fields.values() if dataclasses.MISSING is f.default is f.default_factory]
    if missing := [name for name in needed if name not in table]:
        raise RecipeError(f"{where} lacks {', '.join(missing)}: the card tells it, so the record has to")
    hints = get_type_hints(kind)
    try:
        return kind(**{name: _value(hints[name], value, name) for name, value in table.items()})
    except RecipeError as error:
        raise type(error)(f"{where}: {error}") from None


def _value(hint: Any, value: Any, name: str) -> Any:
    if get_origin(hint) is types.UnionType:
        return None if value is None else _value(get_args(hint)[0], value, name)
    if get_origin(hint) is Literal:
        fits, wanted = value in get_args(hint), f"one of {', '.join(get_args(hint))}"
    elif get_origin(hint) is tuple:
        fits, wanted = isinstance(value, list) and all(isinstance(one, str) for one in value), "a list of strings"
        value = tuple(value) if fits else value
    elif get_origin(hint) is dict:
        texts = get_args(hint)[1] is str
        fits = isinstance(value, dict) and (not texts or all(isinstance(one, str) for one in value.values()))
        wanted = "an object"
    else:
        number = hint is float and isinstance(value, int)
        fits, wanted = (isinstance(value, hint) or number) and not isinstance(value, bool), hint.__name__
    if not fits:
        raise RecipeError(f"{name} is {value!r}, wanted {wanted}")
    return value


def _filled(record: object, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if not value or (isinstance(value, str) and not value.strip()):
            raise RecipeError(f"{name} is empty: the card tells it, so the record has to")


def _date(text: str) -> None:
    import datetime

    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        raise RecipeError(f"date is {text!r}, wanted a day as 2026-11-21") from None


def _kind(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a text", type(None): "nothing"}.get(type(value), "a number")
