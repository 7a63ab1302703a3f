"""Records of a training and an evaluation, for tests of cards and of publishing."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from x_instruction.cards.records import EVALUATION, TRAINING, ModelRecords, Training, text
from x_instruction.evaluation.metric import Data, Metric, ModelInfo
from x_instruction.evaluation.record import Record, write_record

CONFIGURATION = 'model = "tiny"\nlearning_rate = 1e-5\n# ```\n</details> <script>alert(1)</script>\n'


def training(**changes: Any) -> Training:
    values: dict[str, Any] = {
        "base_model": "facts-org/base",
        "base_revision": "0123abc",
        "base_license": "apache-2.0",
        "relation": "finetune",
        "dataset": "facts-org/set",
        "dataset_revision": "v1.0.0",
        "languages": ("th", "ur"),
        "rows": 64_000,
        "tokens": 31_000_000,
        "steps": 2_000,
        "seconds": 5_400.0,
        "hardware": "2 CPU cores",
        "hyperparameters": {"learning_rate": 1e-5, "epochs": 2, "schedule": "linear"},
        "example": 'How is "rice" grown?\nSay it in one sentence.',
        "loss": 1.234,
        "software": {"transformers": "5.23.0", "torch": "2.13.0"},
        "configuration": CONFIGURATION,
    }
    return Training(**values | changes)


def evaluation(**changes: Any) -> Metric:
    """A figure; keyword arguments replace its fields, or those of its data."""
    data = {"name": "facts-org/questions", "revision": "v2", "config": "default", "split": "test", "on_hub": True}
    data |= {name: changes.pop(name) for name in tuple(changes) if name in Data.__dataclass_fields__ and name != "name"}
    data["name"] = changes.pop("dataset", data["name"])
    values: dict[str, Any] = {
        "task": "questions",
        "name": "win_rate",
        "value": 0.53,
        "low": 0.42,
        "high": 0.64,
        "n": 80,
        "language": "th",
        "notes": "judged in both orders",
    }
    return Metric(data=Data(**data), **values | changes)


def records(*metrics: Metric, training: Training) -> ModelRecords:
    """What a card is made of, without files."""
    path, model = Path("evaluation.json"), ModelInfo(name="model")
    record = Record(path=path, id="x", date="2026-11-20", model=model, metrics=metrics, settings={}, samples=None)
    return ModelRecords(training, (record,) if metrics else ())


def write(folder: Path, training: Training, *metrics: Metric) -> None:
    """Leave the records of a model in its folder."""
    (folder / TRAINING).write_text(text(training), "utf-8")
    day = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    write_record(folder / EVALUATION, "results", ModelInfo(name="model"), metrics, [], settings={}, when=day)
