"""The training process with a tiny model: errors, results, and that a kill changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from x_instruction.config import recipe
from x_instruction.config.model import Model
from x_instruction.config.training import Align, TrainConfig
from x_instruction.engines import Choice
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.errors import EngineError, RecipeError, TrainingError
from x_instruction.training.job import EXAMPLES, RESULT, TrainingExample, TrainJob, read_examples, write_examples
from x_instruction.training.launch import launch
from x_instruction.training.tokenization import ExampleEncoder
from x_instruction.training.trainer import HeadLoss, OutputTrainer
from x_instruction.training.worker import _check_weights, _loading, train

pytestmark = pytest.mark.usefixtures("warm_trainings")
COLORS = ("red", "blue")
ROWS = [TrainingExample(f"Thing {n} is {COLORS[n % 2]}.\nIs it red?", (" yes", " no")[n % 2], False) for n in range(32)]
QUICK: dict[str, Any] = {"batch_size": 8, "device_batch_size": 8, "rank": 4, "threads": 1, "device": "cpu"}


def job(model: Path | str, align: Align | None = None, adapter: str | None = None, **settings: Any) -> TrainJob:
    return TrainJob(model=Model(name=str(model), adapter=adapter), train=TrainConfig(**QUICK | settings), align=align)


def prepared(folder: Path, settings: TrainJob, examples: list[TrainingExample] = ROWS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_examples(folder / EXAMPLES, examples)
    (folder / "job.json").write_text(recipe.dumps(settings), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "qlora", "device": "auto"}, r"train\.method is qlora, which needs a GPU"),
        ({"log": "trackio"}, r"train\.log is trackio, which is not installed: pip install trackio"),
        ({"device": "cuda"}, r"train\.device is cuda and torch finds no GPU"),
        (
            {"target_modules": ("nothing",)},
            r"train\.target_modules has 'nothing', which is not a linear layer of the model, expected some of",
        ),
        ({"learning_rate": 1e30, "steps": 30}, r"is (nan|inf) at step \d+: lower train.learning_rate"),
    ],
)
def test_unsupported_settings_are_refused(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    if torch.cuda.is_available() and "learning_rate" not in settings:
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match=message):
        train(prepared(tmp_path / "work", job(tiny_model, **settings)))


@pytest.mark.parametrize("steps", [4, 103])
def test_a_nan_loss_in_the_last_step_is_reported(
    steps: int, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is NaN in the last step only, which was once not checked in trainings of more than 100 steps."""
    plain = OutputTrainer.compute_loss

    def last_is_none(self: OutputTrainer, *given: Any, **named: Any) -> Any:
        return plain(self, *given, **named) * (float("nan") if self.state.global_step == steps - 1 else 1.0)

    monkeypatch.setattr(OutputTrainer, "compute_loss", last_is_none)
    short = [TrainingExample("a b", " c", False)] * 2
    folder = prepared(tmp_path / "work", job(tiny_model, steps=steps, batch_size=2, save_steps=1000), short)
    with pytest.raises(TrainingError, match=rf"is (nan|not finite) at step {steps}: lower train.learning_rate"):
        train(folder)
    assert not (folder / "model").exists()
    assert not (folder / RESULT).exists()


def test_infinite_weights_are_reported() -> None:
    network = torch.nn.Linear(2, 2)
    _check_weights(network, 3)
    with torch.no_grad():
        network.bias[1] = float("inf")
    with pytest.raises(TrainingError, match="bias is not finite at step 3: lower"):
        _check_weights(network, 3)
    network.bias.requires_grad = False
    _check_weights(network, 3)


def test_no_checkpoint_has_infinite_weights(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every later attempt would continue from it."""
    plain = OutputTrainer._clip_grad_norm

    def spoiled(self: OutputTrainer, model: torch.nn.Module) -> Any:
        found = plain(self, model)
        for weight in model.parameters():
            if weight.grad is not None and self.state.global_step == 1:
                weight.grad += float("inf")
        return found

    monkeypatch.setattr(OutputTrainer, "_clip_grad_norm", spoiled)
    folder = prepared(tmp_path / "work", job(tiny_model, steps=3, save_steps=1))
    with pytest.raises(TrainingError, match="is not finite at step 2"):
        train(folder)
    assert [path.name for path in (folder / "checkpoints").glob("checkpoint-*")] == ["checkpoint-1"]


def test_full_training_refuses_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.method is full and model\.adapter is mine, .*merge it"):
        train(prepared(tmp_path / "work", job(tiny_model, adapter=str(tmp_path / "mine"), method="full")))


def test_one_process_with_several_gpus_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise transformers would use a batch on each GPU."""
    monkeypatch.setattr(SFTConfig, "n_gpu", 4)
    with pytest.raises(TrainingError, match="one process sees 4 GPUs, which would multiply the batch size by 4"):
        train(prepared(tmp_path / "work", job(tiny_model)))


@pytest.mark.parametrize(("rank", "device"), [("1", 1), (None, 0)])
def test_four_bit_weights_are_loaded_on_their_device(
    rank: str | None, device: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such weights cannot be moved, and torch uses the first device until the trainer exists."""
    monkeypatch.setattr("x_instruction.training.worker._four_bits", lambda: "four")
    if rank is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", rank)
    config = TrainConfig(method="qlora", dtype="bfloat16")
    assert _loading(config, "cuda") == {
        "dtype": torch.bfloat16,
        "quantization_config": "four",
        "device_map": {"": device},
    }
    assert _loading(TrainConfig(dtype="bfloat16"), "cuda") == {"dtype": torch.bfloat16}


def test_a_missing_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not exist"):
        launch(job(tmp_path / "nothing"), ROWS, tmp_path / "model")


def test_an_adapter_of_another_base_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    launch(job(tiny_model, steps=1), ROWS, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    as_it_was = path.read_text("utf-8")
    for change in (('"r": 4', '"r": 8'), ("layers.0.self_attn.q_proj", "layers.0.self_attn.x_proj")):
        assert change[0] in as_it_was
        path.write_text(as_it_was.replace(*change), "utf-8")
        with pytest.raises(EngineError, match=r"adapter .* does not fit on"):
            launch(job(tiny_model, adapter=str(tmp_path / "adapter"), steps=1), ROWS, tmp_path / "model")
        with pytest.raises(EngineError, match=r"adapter .* does not fit on"):
            TransformersEngine(Model(name=str(tiny_model), adapter=str(tmp_path / "adapter")))
    assert not (tmp_path / "model").exists()


def test_an_existing_folder_is_not_overwritten(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(TrainingError, match="exists already"):
        launch(job(tiny_model), ROWS, tmp_path / "model")


def test_alignment_needs_parallel_sentences(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="needs at least 2 rows with sentence and parallel"):
        train(prepared(tmp_path / "work", job(tiny_model, Align())))


def test_examples_round_trip(tmp_path: Path) -> None:
    examples = [
        TrainingExample("a\u2028b \ud800", "x\ny", False),
        TrainingExample((("system", "s"), ("user", "น้ำ")), "z", True, "one", "yksi"),
    ]
    write_examples(tmp_path / EXAMPLES, examples)
    found = read_examples(tmp_path / EXAMPLES)
    assert found[1] == examples[1]
    assert found[0].prompt == "a\u2028b ?"


@pytest.fixture(scope="module")
def trainer(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> OutputTrainer:
    reader = ExampleEncoder(str(tiny_model))
    rows, _ = reader.rows([TrainingExample("Text: some words here. " * 3, f" answer {n}") for n in range(4)], None, 100)
    return OutputTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model),
        args=SFTConfig(
            output_dir=str(tmp_path_factory.mktemp("trainer")),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_list(list(rows.values())),
        processing_class=reader.tokenizer,
    )


@pytest.mark.parametrize("size", [1 << 25, 1])
def test_the_loss_and_gradient_equal_trl_and_a_manual_computation(
    size: int, trainer: OutputTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one pass and token by token; all weights are trained, also those of the vocabulary."""
    monkeypatch.setattr("x_instruction.training.trainer._LOGITS", size)
    batch = next(iter(trainer.get_train_dataloader()))
    number = int((batch["labels"] != -100).sum())
    assert 0 < number < 0.5 * batch["labels"].numel()
    made = []
    monkeypatch.setattr(HeadLoss, "forward", spy(HeadLoss.forward, made))
    found = []
    for compute in (OutputTrainer.compute_loss, SFTTrainer.compute_loss):
        found.append(step(trainer, compute, batch, number))
        assert len(made) == 1
    with torch.no_grad():
        logits = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    total = 0.0
    for row in range(len(logits)):
        for place in range(1, logits.shape[1]):
            token = int(batch["labels"][row, place])
            if token != -100:
                total -= float(torch.log_softmax(logits[row, place - 1].double(), -1)[token])
    assert found[0][0] == pytest.approx(total / number, rel=1e-5)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_the_loss_of_a_model_in_bfloat16_is_computed_in_float32(
    trainer: OutputTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = next(iter(trainer.get_train_dataloader()))
    number = int((batch["labels"] != -100).sum())
    exact, exact_grad = step(trainer, OutputTrainer.compute_loss, batch, number)
    made: list[None] = []
    monkeypatch.setattr(HeadLoss, "forward", spy(HeadLoss.forward, made))
    try:
        trainer.model.bfloat16()
        half, half_grad = step(trainer, OutputTrainer.compute_loss, batch, number)
    finally:
        trainer.model.float()
    assert len(made) == 1
    assert half == pytest.approx(exact, rel=5e-3)
    assert torch.nn.functional.cosine_similarity(half_grad.float(), exact_grad, dim=0) > 0.99


def test_a_model_that_transforms_its_logits_uses_the_loss_of_trl(
    trainer: OutputTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = next(iter(trainer.get_train_dataloader()))
    number = int((batch["labels"] != -100).sum())
    straight = step(trainer, OutputTrainer.compute_loss, batch, number)[0]
    # As Gemma 2 does in its own forward, behind the head.
    bend = trainer.model.register_forward_hook(
        lambda module, given, made: (
            setattr(made, "logits", torch.tanh(made.logits * 5)) if hasattr(made, "logits") else None
        )
    )
    made: list[None] = []
    monkeypatch.setattr(HeadLoss, "forward", spy(HeadLoss.forward, made))
    monkeypatch.setattr(trainer, "_plain", True)
    try:
        step(trainer, OutputTrainer.compute_loss, batch, number)
    finally:
        bend.remove()
    assert not made
    assert not trainer._plain
    assert straight > 0


def spy(forward: Callable[..., Any], made: list[None]) -> Callable[..., Any]:
    def wrapped(*given: Any) -> Any:
        made.append(None)
        return forward(*given)

    return staticmethod(wrapped)


def step(
    trainer: OutputTrainer, compute: Callable[..., Any], batch: dict[str, Any], number: int
) -> tuple[float, torch.Tensor]:
    """Loss and gradient of a batch."""
    trainer.model.zero_grad()
    trainer.model.train()
    loss = compute(trainer, trainer.model, dict(batch), num_items_in_batch=torch.tensor(number))
    loss.backward()
    return loss.item(), torch.cat([w.grad.flatten() for w in trainer.model.parameters()])


def test_packed_rows_do_not_attend_to_each_other(tiny_model: Path, tmp_path: Path) -> None:
    """The loss of a packed step equals that of its rows one by one."""
    examples = [TrainingExample(f"Text {n}:", f" the answer number {n * 7}") for n in range(6)]
    done = train(
        prepared(
            tmp_path / "work",
            job(tiny_model, packing=True, max_tokens=256, steps=1, batch_size=1, device_batch_size=1),
            examples,
        )
    )
    engine, reader = TransformersEngine(Model(name=str(tiny_model))), ExampleEncoder(str(tiny_model))
    total, tokens = 0.0, 0
    with torch.inference_mode():
        for example in examples:
            ids, start = reader.encode(example)
            steps = torch.log_softmax(engine.network(torch.tensor([ids])).logits[0].double(), -1)
            total -= sum(float(steps[place - 1, ids[place]]) for place in range(start, len(ids)))
            tokens += len(ids) - start
    assert done.losses[0][1] == pytest.approx(total / tokens, rel=1e-4)


def test_the_trained_model_learns_and_loads_in_the_engine(tiny_model: Path, tmp_path: Path) -> None:
    done = launch(job(tiny_model, method="full", epochs=30.0, learning_rate=3e-3), ROWS, tmp_path / "model")
    assert done.losses[0][1] > 2
    assert done.loss < 0.3
    assert done.rows == 32
    assert done.steps == 120
    assert done.trainable == done.parameters
    engine = TransformersEngine(Model(name=str(tmp_path / "model")))
    asked = [Choice(example.prompt, (" yes", " no")) for example in ROWS]
    answers = {
        batch.rows[place]: answer
        for batch in engine.plan(asked)
        for place, answer in engine.answer([asked[row] for row in batch.rows], batch.shared)
    }
    right = sum((answers[n].probabilities[0] > 0.5) == (n % 2 == 0) for n in range(32))  # type: ignore[union-attr]
    assert right >= 28


def test_an_adapter_has_no_local_paths_and_is_deterministic(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        launch(job(tiny_model, steps=2), ROWS, tmp_path / name)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert sorted(files) == ["adapter_config.json", "adapter_model.safetensors"]
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert str(tiny_model).encode() not in files["adapter_config.json"]


def test_a_finished_training_is_completed_without_repeating_it(tiny_model: Path, tmp_path: Path) -> None:
    """After a kill between the last step and the appearance of the model, nothing is trained again."""
    settings = job(tiny_model, steps=2)
    with pytest.raises(ZeroDivisionError):
        launch(settings, ROWS, tmp_path / "model", lambda folder, tuned: 1 / 0)  # type: ignore[arg-type, return-value]
    before = (tmp_path / ".model.training" / RESULT).stat().st_mtime_ns
    times: list[int] = []
    launch(
        settings,
        ROWS,
        tmp_path / "model",
        lambda folder, tuned: times.append((folder.parent / RESULT).stat().st_mtime_ns),
    )
    assert times == [before]
    assert not (tmp_path / ".model.training").exists()


def test_other_rows_restart_the_training(tiny_model: Path, tmp_path: Path) -> None:
    settings = job(tiny_model, steps=2, save_steps=1)
    with pytest.raises(ZeroDivisionError):
        launch(settings, ROWS, tmp_path / "model", lambda folder, tuned: 1 / 0)  # type: ignore[arg-type, return-value]
    launch(settings, ROWS[:8], tmp_path / "model")
    launch(settings, ROWS[:8], tmp_path / "fresh")
    assert weights(tmp_path / "model") == weights(tmp_path / "fresh")


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_a_killed_training_gives_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    settings = job(tiny_model, steps=12, save_steps=1, learning_rate=1e-2)
    launch(settings, ROWS, tmp_path / "whole")
    folder = prepared(tmp_path / ".killed.training", settings)
    line = [sys.executable, "-m", "x_instruction.training.worker", str(folder)]
    kills = 0
    for least in (2, 6):
        process = warm.start(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if any(int(path.name.split("-")[1]) >= least for path in folder.glob("checkpoints/checkpoint-*")):
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        process.wait()
    assert kills == 2
    done = launch(settings, ROWS, tmp_path / "killed")
    assert [step for step, _ in done.losses] == list(range(1, 13))
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_a_damaged_checkpoint_is_skipped(tiny_model: Path, tmp_path: Path) -> None:
    settings = job(tiny_model, steps=3, save_steps=1)
    folder = prepared(tmp_path / ".model.training", settings)
    broken = folder / "checkpoints" / "checkpoint-2"
    broken.mkdir(parents=True)
    (broken / "trainer_state.json").write_text('{"global_step": 2', "utf-8")
    assert launch(settings, ROWS, tmp_path / "model").steps == 3


def test_the_training_stops_with_its_parent_process(tiny_model: Path, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "work", job(tiny_model, epochs=10_000.0))
    code = (
        "import subprocess, sys, time; "
        f"p = subprocess.Popen([{sys.executable!r}, '-m', 'x_instruction.training.worker', {str(folder)!r}]); "
        "print(p.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(3)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 60
    while time.monotonic() < end and Path(f"/proc/{child}").exists():
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.2)
    assert time.monotonic() < end
