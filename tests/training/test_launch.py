"""Launching a training: its processes, their environment, and resuming after a kill."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from x_instruction.config import recipe
from x_instruction.config.model import Model
from x_instruction.config.section import loads
from x_instruction.config.training import Align, TrainConfig
from x_instruction.errors import TrainingError
from x_instruction.training import launch as module
from x_instruction.training.job import (
    EXAMPLES,
    PARENT_PID,
    TrainingExample,
    TrainJob,
    TrainResult,
    fingerprint,
    write_examples,
)
from x_instruction.training.launch import launch
from x_instruction.training.worker import train

COLORS = ("red", "blue")
ROWS = [
    TrainingExample(
        f"Thing {n} is {COLORS[n % 2]}" + " indeed" * (n % 5) + ".\nIs it red?",
        (" yes", " no")[n % 2],
        False,
        f"thing {n} of ours",
        f"meidän {n} asia",
    )
    for n in range(32)
]
QUICK: dict[str, Any] = {"batch_size": 8, "device_batch_size": 8, "rank": 4, "threads": 1, "device": "cpu"}


def job(model: Path | str, align: Align | None = None, adapter: str | None = None, **settings: Any) -> TrainJob:
    return TrainJob(model=Model(name=str(model), adapter=adapter), train=TrainConfig(**QUICK | settings), align=align)


def same_weights(one: Path, other: Path) -> None:
    left, right = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert left.keys() == right.keys()
    for name, weight in left.items():
        torch.testing.assert_close(weight, right[name], rtol=1e-3, atol=1e-5, msg=lambda text, name=name: name + text)


def test_no_file_of_the_working_folder_is_imported(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')", "utf-8")
    command = [sys.executable, "-m", "x_instruction.training.worker"]
    environment = module._environment(TrainConfig(**QUICK), 1)
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode
    assert "imported" not in ran.stderr


@pytest.fixture
def strange_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of a shell in which accelerate is configured for another job."""
    home = tmp_path / "home"
    (home / "accelerate").mkdir(parents=True)
    (home / "accelerate" / "default_config.yaml").write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: FSDP\nmixed_precision: bf16\nnum_processes: 7\n"
        "num_machines: 2\nmachine_rank: 1\nmain_process_ip: 192.0.2.1\nmain_process_port: 1\ngpu_ids: '5'\n"
        "fsdp_config: {fsdp_version: 2}\ndynamo_config: {dynamo_backend: INDUCTOR}\n"
    )
    monkeypatch.setenv("HF_HOME", str(home))
    for name, value in {
        "ACCELERATE_MIXED_PRECISION": "fp16",
        "ACCELERATE_USE_FSDP": "true",
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "3",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("strange_shell")
def test_two_processes_train_the_same_model_as_one(tiny_model: Path, tmp_path: Path) -> None:
    """Over the end of an epoch, and with variables of accelerate in the shell."""
    done = {}
    for processes in (1, 2):
        settings = job(tiny_model, steps=5, learning_rate=1e-2, processes=processes, device_batch_size=8 // processes)
        done[processes] = launch(settings, ROWS, tmp_path / f"{processes}")
    one, two = done[1], done[2]
    assert two.hardware == f"2 x {one.hardware}"
    assert (two.steps, two.rows, two.tokens) == (one.steps, one.rows, one.tokens)
    assert [step for step, _ in two.losses] == [1, 2, 3, 4, 5]
    assert [loss for _, loss in two.losses] == pytest.approx([loss for _, loss in one.losses], rel=1e-4)
    assert two.flops == pytest.approx(one.flops, rel=0.1)
    same_weights(tmp_path / "1", tmp_path / "2")
    assert sorted(path.name for path in (tmp_path / "2").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert (tmp_path / "1" / "adapter_config.json").read_bytes() == (
        tmp_path / "2" / "adapter_config.json"
    ).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "home"]


@pytest.mark.usefixtures("warm_trainings")
def test_two_processes_contrast_all_their_pairs(tiny_model: Path, tmp_path: Path) -> None:
    done = {}
    for processes in (1, 2):
        settings = job(
            tiny_model, Align(), steps=2, learning_rate=1e-2, processes=processes, device_batch_size=8 // processes
        )
        done[processes] = launch(settings, ROWS, tmp_path / f"{processes}")
    assert [loss for _, loss in done[2].losses] == pytest.approx([loss for _, loss in done[1].losses], rel=1e-4)
    same_weights(tmp_path / "1", tmp_path / "2")


@pytest.mark.usefixtures("warm_trainings")
def test_an_error_in_one_of_two_processes_is_reported(tiny_model: Path, tmp_path: Path) -> None:
    settings = job(tiny_model, processes=2, target_modules=("nothing",))
    with pytest.raises(TrainingError, match=r"train\.target_modules has 'nothing'"):
        launch(settings, ROWS, tmp_path / "model")


def test_all_processes_stop_with_the_run(tiny_model: Path, tmp_path: Path) -> None:
    """So does the launcher, even if no process waits for the end of the run."""
    settings = job(tiny_model, epochs=10_000.0, processes=2, device_batch_size=4, save_steps=1)
    (tmp_path / "job.json").write_text(recipe.dumps(settings), "utf-8")
    write_examples(tmp_path / EXAMPLES, ROWS)
    code = (
        "import sys; from pathlib import Path; from x_instruction.config.section import loads; "
        "from x_instruction.training.job import TrainJob, read_examples; "
        "from x_instruction.training.launch import launch; "
        "at = Path(sys.argv[1]); "
        "job = loads(TrainJob, (at / 'job.json').read_text('utf-8')); "
        "launch(job, read_examples(at / 'examples.jsonl'), at / 'm')"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    folder = tmp_path / ".m.training"
    at_work = eventually(lambda: any(folder.glob("checkpoints/*/trainer_state.json")), 180)
    processes = tuning(folder)
    os.kill(run.pid, signal.SIGKILL)
    ended = eventually(lambda: not tuning(folder), 60)
    run.wait()
    assert at_work
    assert len(processes) == 3
    assert ended


def eventually(holds: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


def tuning(folder: Path) -> list[int]:
    """Processes that have the folder in their command, zombies not counted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Record the command that would be started, with its environment, and fail."""
    found: list[tuple[list[str], dict[str, str]]] = []

    def run(line: list[str], env: dict[str, str], **more: Any) -> SimpleNamespace:
        found.append((line, env))
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(module.subprocess, "run", run)
    return found


@pytest.mark.parametrize(
    ("seen", "settings", "expected"),
    [
        ("3,1,0", {"processes": 1}, "3"),
        ("3,1,0", {"processes": 2}, "3,1"),
        ("3,1,0", {}, "3,1,0"),
        ("GPU-5a,GPU-7", {"processes": 1, "device": "cuda"}, "GPU-5a"),
        ("3,1", {"processes": 1, "device": "cpu"}, "3,1"),
        ("", {"processes": 1}, ""),
    ],
)
def test_a_process_sees_its_own_gpus(
    begun: list[tuple[list[str], dict[str, str]]],
    seen: str,
    settings: dict[str, Any],
    expected: str,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    with pytest.raises(TrainingError, match="exit code 3"):
        launch(job(tiny_model, **{"device": "auto"} | settings), ROWS, tmp_path / "model")
    ((line, environment),) = begun
    assert environment["CUDA_VISIBLE_DEVICES"] == expected
    assert environment[PARENT_PID] == str(os.getpid())
    processes = 1 if settings.get("device") == "cpu" else max(1, len([name for name in expected.split(",") if name]))
    assert ("accelerate.commands.launch" in line) == (processes > 1)
    if processes > 1:
        assert line[line.index("--num_processes") + 1] == str(processes)


def test_more_processes_than_gpus_are_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(TrainingError, match=r"train\.processes is 3 and 2 GPUs are visible"):
        launch(job(tiny_model, processes=3, device="auto"), ROWS, tmp_path / "model")


@pytest.mark.usefixtures("begun")
def test_the_last_error_of_the_output_is_reported(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accelerate prints a table after it, which reports that a process was killed."""
    output = (
        "[rank1]: torch.OutOfMemoryError: CUDA out of memory.\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\n  exitcode  : -9 (pid: 7)\n====\n"
    )

    def run(line: list[str], stdout: Any, **more: Any) -> SimpleNamespace:
        stdout.write(output.encode())
        stdout.flush()
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(module.subprocess, "run", run)
    with pytest.raises(TrainingError, match=r"exit code 1 \(killed, .*torch\.OutOfMemoryError: CUDA out of memory\.;"):
        launch(job(tiny_model, processes=2), ROWS, tmp_path / "model")


@pytest.mark.parametrize(
    ("align", "change", "kept"),
    [
        (None, {"device_batch_size": 2}, True),
        (None, {"save_steps": 7, "log": "trackio", "gradient_checkpointing": True, "processes": 2}, True),
        (None, {"learning_rate": 1.0}, False),
        (None, {"threads": 2}, False),
        (Align(), {"save_steps": 7}, True),
        (Align(), {"device_batch_size": 4}, False),
        (Align(), {"processes": 2}, False),
    ],
)
@pytest.mark.usefixtures("begun")
def test_only_settings_that_change_the_weights_discard_checkpoints(
    align: Align | None, change: dict[str, Any], kept: bool, tiny_model: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / ".model.training" / "checkpoints" / "checkpoint-1"
    for settings in ({}, change):
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint.parent / "mark").write_text(str(settings))
        with pytest.raises(TrainingError, match="exit code 3"):
            launch(job(tiny_model, align, **settings), ROWS, tmp_path / "model")
    assert checkpoint.exists() == kept


def test_the_fingerprint_covers_settings_that_change_the_weights(tiny_model: Path) -> None:
    found = fingerprint(job(tiny_model))
    assert {"model.name", "model.revision", "model.adapter", "train.seed", "train.threads"} <= found.keys()
    assert not {"train.device", "train.save_steps", "train.processes", "model.batch_size"} & found.keys()
    assert {"train.device_batch_size", "train.processes"} <= fingerprint(job(tiny_model, Align())).keys()


@pytest.mark.usefixtures("warm_trainings")
@pytest.mark.parametrize("sampling", ["random", "by_length"])
@pytest.mark.parametrize("change", [{}, {"device_batch_size": 4}, {"device_batch_size": 2, "processes": 2}])
def test_a_resumed_training_gives_the_same_weights_with_other_batch_splits(
    sampling: str, change: dict[str, Any], tiny_model: Path, tmp_path: Path, stopped: dict[str, Path]
) -> None:
    shutil.copytree(stopped[sampling], tmp_path / ".model.training")
    settings = job(tiny_model, **CUT | {"sampling": sampling} | change)
    done = launch(settings, ROWS, tmp_path / "model")
    assert [step for step, _ in done.losses] == list(range(1, CUT["steps"] + 1))
    same_weights(stopped[f"{sampling}, whole"], tmp_path / "model")


# It is cut within the second epoch, and ends in the third.
CUT: dict[str, Any] = {"steps": 9, "save_steps": 1, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def stopped(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each sampling a training stopped at its sixth step, and the model of one that was not stopped."""
    found = {}
    for sampling in ("random", "by_length"):
        settings = job(tiny_model, **CUT | {"sampling": sampling})
        root = tmp_path_factory.mktemp(sampling)
        for name in ("whole", "cut"):
            folder = root / name
            folder.mkdir()
            write_examples(folder / EXAMPLES, ROWS)
            (folder / "job.json").write_text(recipe.dumps(settings), "utf-8")
        train(root / "whole")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("x_instruction.training.worker._FiniteLoss.on_log", cut)
            with pytest.raises(TrainingError, match="cut"):
                train(root / "cut")
        assert (root / "cut" / "checkpoints" / "checkpoint-5").is_dir()
        found |= {sampling: root / "cut", f"{sampling}, whole": root / "whole" / "model"}
    return found


def cut(self: Any, args: Any, state: Any, *given: Any, **more: Any) -> None:
    if state.global_step == 6:
        raise TrainingError("cut")


@pytest.mark.usefixtures("warm_trainings")
def test_a_changed_save_steps_applies_when_resuming(
    tmp_path: Path, stopped: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(stopped["random"], tmp_path / "work")
    before = loads(TrainJob, (tmp_path / "work" / "job.json").read_text("utf-8"))
    settings = before.replace(train=before.train.replace(save_steps=4))
    (tmp_path / "work" / "job.json").write_text(recipe.dumps(settings), "utf-8")
    saved: list[int] = []
    monkeypatch.setattr(
        "x_instruction.training.worker._WallClock.on_save",
        lambda self, args, state, *given, **more: saved.append(state.global_step),
    )
    train(tmp_path / "work")
    assert saved == [8, 9]


def left_whole(settings: TrainJob, target: Path) -> Path:
    """The folder of a tuning that was killed before its model came to its place."""
    with pytest.raises(ZeroDivisionError):
        launch(settings, ROWS, target, lambda folder, tuned: 1 / 0)  # type: ignore[arg-type, return-value]
    return target.with_name(f".{target.name}.training")


@pytest.mark.usefixtures("warm_trainings")
def test_a_removed_model_is_restored_from_its_training_folder(tiny_model: Path, tmp_path: Path) -> None:
    """The training was killed after the model appeared and before the rest was removed; the model was removed later."""
    settings = job(tiny_model, steps=2, learning_rate=1e-2)
    launch(settings, ROWS, tmp_path / "whole")
    shutil.rmtree(left_whole(settings, tmp_path / "model") / "model")
    results: list[TrainResult] = []
    done = launch(settings, ROWS, tmp_path / "model", lambda folder, tuned: results.append(tuned))
    assert results == [done]
    # From the last checkpoint, which is a whole one: not a step more.
    assert done.steps == 2
    assert [step for step, _ in done.losses] == [1, 2]
    same_weights(tmp_path / "whole", tmp_path / "model")


@pytest.mark.parametrize(
    ("base", "made_for", "warned"),
    [
        ("google/gemma-3-270m", "google/gemma-3-270m-it", True),
        ("google/gemma-3-270m (Q4_K_M)", "google/gemma-3-270m", False),
        ("google/gemma-3-270m", "Google/Gemma-3-270m", False),
        ("my-model", "google/gemma-3-270m", False),
        ("google/gemma-3-270m", "/somewhere/model", False),
        ("google/gemma-3-270m", None, False),
    ],
)
def test_an_adapter_for_another_base_gives_a_warning(
    base: str,
    made_for: str | None,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": made_for}), "utf-8")
    names = {"base": base, "adapter": "adapter"}
    monkeypatch.setattr(module, "locate", lambda name, *more: SimpleNamespace(name=names[name], folder=tmp_path))
    with caplog.at_level(logging.WARNING):
        module._warn_of_another_base(job("base", adapter="adapter"))
    assert ("made for google/gemma-3-270m-it" in caplog.text) == warned
    assert bool(caplog.text) == warned
