"""Which GPUs a worker sees."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from x_instruction.config.recipe import Recipe, load
from x_instruction.errors import EngineError
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.executors.devices import default_workers, groups, span
from x_instruction.pipeline.progress import NullProgress

Write = Callable[..., Path]


def split(recipe_file: Write, gpus: int, **model: object) -> Recipe:
    """A recipe whose generator vLLM splits over some GPUs."""
    model = {"name": "somewhere/large", "engine": "vllm"} | model
    return load(recipe_file(**{"generate.model": model, "generate.model.vllm": {"tensor_parallel": gpus}}))


@pytest.mark.parametrize(("visible", "gpus"), [("", 0), ("0", 1), ("0,1,2", 3)])
def test_too_few_gpus_are_reported_in_numbers(
    recipe_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, gpus: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    recipe = split(recipe_file, 4)
    message = f"tensor_parallel = 4 with --workers 1 needs 4 GPUs, and {gpus} are visible"
    with pytest.raises(EngineError, match=message):
        default_workers(recipe)
    with pytest.raises(EngineError, match=message):
        execute(recipe, tmp_path / "run", 1, False, "rated", NullProgress())
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_more_workers_than_groups_are_refused(recipe_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with pytest.raises(EngineError, match="with --workers 3 needs 6 GPUs, and 4 are visible"):
        groups(split(recipe_file, 2), 3)


@pytest.mark.parametrize(
    ("size", "visible", "expected"),
    [
        (1, "0,1,2", ["0", "1", "2"]),
        (2, "0,1,2,3", ["0,1", "2,3"]),
        (2, "4,5,6", ["4,5"]),
        (3, "GPU-a,GPU-b,GPU-c", ["GPU-a,GPU-b,GPU-c"]),
    ],
)
def test_a_worker_takes_as_many_gpus_as_its_model_is_split_over(
    recipe_file: Write, monkeypatch: pytest.MonkeyPatch, size: int, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    recipe = split(recipe_file, size)
    assert groups(recipe) == expected
    assert default_workers(recipe) == len(expected)


def test_without_gpus_the_cores_count(recipe_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert groups(split(recipe_file, 1)) == []
    assert default_workers(split(recipe_file, 1)) == 2


def test_a_worker_takes_along_what_it_started(tmp_path: Path) -> None:
    """vLLM's processes would keep their GPUs."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import multiprocessing, time\n"
        "from x_instruction.processes import end_process\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(600,))\n"
        "    child.start()\n"
        "    print(child.pid, flush=True)\n"
        "    end_process(7)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr
    end = time.monotonic() + 20
    while Path(f"/proc/{done.stdout.strip()}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


def test_only_vllm_splits(recipe_file: Write) -> None:
    assert span(split(recipe_file, 2)) == 2
    assert span(split(recipe_file, 2, engine="transformers")) == 1
