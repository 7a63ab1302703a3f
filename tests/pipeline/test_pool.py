"""The GPUs of a worker, and shards that exceed their memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from x_instruction.config.recipe import Recipe, load
from x_instruction.engines import Prompt
from x_instruction.engines.local.memory import is_out_of_memory
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.errors import EngineError, ShardsSetAside
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.executors.devices import default_workers, groups, span
from x_instruction.pipeline.progress import NullProgress
from x_instruction.processes import alive
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

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
def test_a_worker_gets_one_gpu_per_part_of_its_model(
    recipe_file: Write, monkeypatch: pytest.MonkeyPatch, size: int, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    recipe = split(recipe_file, size)
    assert groups(recipe) == expected
    assert default_workers(recipe) == len(expected)


def test_a_missing_gpu_is_reported_before_work_starts(
    recipe_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    recipe = load(recipe_file(), {"refine.model.device": "cuda:0"})
    with pytest.raises(
        EngineError, match=r"^device is 'cuda:0' for .*, and no GPU is visible: set device to 'auto' or"
    ):
        execute(recipe, tmp_path / "run", 1, False, "rated", NullProgress())
    assert not list((tmp_path / "run").rglob("*.parquet"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert groups(recipe) == ["0"]


class Small:
    """A GPU whose memory holds few rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
        whole = TransformersEngine._prefill

        def prefill(engine: TransformersEngine, prompts: Sequence[Prompt], shared: int) -> Any:
            if len(prompts) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")
            return whole(engine, prompts, shared)

        monkeypatch.setattr(TransformersEngine, "_prefill", prefill)


def asking(recipe_file: Write, rows: int) -> Recipe:
    model = {"generate.model.batch_size": rows, "generate.model.batch_tokens": rows << 20}
    return load(recipe_file(refine={"rater": "none"}), {**model, "languages": ["fi"]})


def test_a_shard_that_exceeds_memory_is_made_in_half_batches(
    recipe_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = execute(asking(recipe_file, 4), tmp_path / "4", 1, False, "candidate", NullProgress())
    Small(monkeypatch, 4)
    found = execute(asking(recipe_file, 8), tmp_path / "8", 1, False, "candidate", NullProgress())
    for key in expected.shards(StageKey("candidate"), "fi"):
        assert found.path(key).read_bytes() == expected.path(key).read_bytes()
        rows = expected.report(key).requests
        assert (expected.report(key).halved_batches, found.report(key).halved_batches) == (False, rows > 4)
    assert any(report.halved_batches for report in found.reports(StageKey("candidate")))


def test_a_shard_that_never_fits_is_set_aside(
    recipe_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = asking(recipe_file, 8)
    with monkeypatch.context() as small:
        Small(small, 1)
        with pytest.raises(ShardsSetAside, match=r"^3 shards were set aside .*: rerun the same command to try again$"):
            execute(recipe, tmp_path / "run", 1, False, "candidate", NullProgress())
    run = RunFolder(tmp_path / "run")
    failure = run.failure(StageKey("candidate").shard("fi", 1))
    assert failure is not None
    assert failure.attempts == 2
    assert "half the size (CUDA out of memory. Tried to allocate 2.00 GiB.): lower batch_tokens" in failure.reason
    execute(recipe, tmp_path / "run", 1, False, "candidate", NullProgress())
    assert run.failure(StageKey("candidate").shard("fi", 1)) is None
    assert {report.halved_batches for report in run.reports(StageKey("candidate"))} == {False}


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (MemoryError("CUDA out of memory"), False),
    ],
)
def test_lack_of_gpu_memory_is_recognised(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


def test_without_gpus_workers_are_limited_by_cores(recipe_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert groups(split(recipe_file, 1)) == []
    assert default_workers(split(recipe_file, 1)) == 2


def test_ending_a_worker_ends_its_child_processes(tmp_path: Path) -> None:
    """Otherwise, processes of vLLM would keep their GPUs."""
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
    end = time.monotonic() + 60
    # Without an init process that reaps it, it stays as a zombie.
    while alive(int(done.stdout)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(int(done.stdout))


def test_only_vllm_splits_a_model_over_gpus(recipe_file: Write) -> None:
    assert span(split(recipe_file, 2)) == 2
    assert span(split(recipe_file, 2, engine="transformers")) == 1
