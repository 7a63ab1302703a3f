"""The record of a training, for the card of the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from x_instruction.cards.model import model_card
from x_instruction.cards.records import read
from x_instruction.cli import cli
from x_instruction.config.model import Model
from x_instruction.config.training import TrainConfig, TrainingRecipe
from x_instruction.engines.embedded import MODELS, hub_id_and_form
from x_instruction.hub.model_folder import check_folder
from x_instruction.seed.pairs import Pair
from x_instruction.training import record
from x_instruction.training.job import TrainJob, TrainResult

pytestmark = pytest.mark.usefixtures("warm_trainings")
PAIR = Pair(
    id="1", instruction="Tell of a crocodile.", output="Mamba", language="sw", instruction_language="en", source="s"
)
TUNED = TrainResult(
    rows=1,
    lengths={"max_tokens": 8},
    steps=1,
    tokens=8,
    seconds=1.0,
    loss=1.0,
    parameters=2,
    trainable=1,
    flops=1.0,
    hardware="1 thread",
    software={"torch": "2"},
)


@pytest.mark.parametrize("name", MODELS)
def test_an_embedded_base_model_is_recorded_by_its_hub_id(name: str) -> None:
    model = MODELS[name]
    assert hub_id_and_form(model.title) == (model.hub_id, model.file_format)
    assert hub_id_and_form("somebody/else (Q8)") == ("somebody/else (Q8)", "")


@pytest.mark.model
def test_a_tuned_embedded_model_can_be_published(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"id": "1", "instruction": "Ask.", "output": "Jibu.", "language": "sw"}) + "\n", "utf-8")
    keys = ["steps=1", "rank=2", "batch_size=1", "device_batch_size=1", "max_tokens=64"]
    sets = [part for key in keys for part in ("--set", f"train.{key}")]
    done = CliRunner().invoke(cli, ["train", "sft", "embedded", str(rows), "--out", str(tmp_path / "made"), *sets])
    assert done.exit_code == 0, done.output
    model = check_folder(tmp_path / "made")
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= set(model.files)
    assert "base_model: google/gemma-3-270m\n" in model.texts("me/mine")["README.md"].decode()


@pytest.mark.model
def test_a_tuned_embedded_model_has_a_card(tmp_path: Path) -> None:
    settings = TrainingRecipe(name="t", model=Model(name="embedded"), train=TrainConfig())
    made = record.training_record(
        TrainJob(model=settings.model, train=settings.train), TUNED, [PAIR], "d", "r", settings, "{instruction}"
    )
    record.write_record(tmp_path, made)
    assert json.loads((tmp_path / "training.json").read_text("utf-8"))["base_model"] == "google/gemma-3-270m"
    text = model_card(read(tmp_path), "me/mine")
    assert "base_model: google/gemma-3-270m\n" in text
    assert "license: gemma\n" in text
