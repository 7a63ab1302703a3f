"""The task file that elements read, and submissions."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import child

from x_instruction.cli.cancel import command as cancel
from x_instruction.config.recipe import load
from x_instruction.config.site import Site
from x_instruction.errors import EngineError, ShardError
from x_instruction.pipeline.detached import Array, Submission, Work, pool
from x_instruction.pipeline.detached import state as states
from x_instruction.pipeline.detached.state import State
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.worker import ShardTask
from x_instruction.processes import alive
from x_instruction.storage.lock import RunBusy
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import SLICE, StageKey

CANDIDATE = StageKey("candidate", 1)
KEYS = [CANDIDATE.shard(tag, n) for tag in ("fi", "sw") for n in (0, 7)]
TASKS = [ShardTask(key, {"seed": 1, "input.a": str(key)}) for key in KEYS]


def test_tasks_round_trip_and_store_shared_settings_once() -> None:
    work = Work(load("demo"), CANDIDATE, TASKS)
    written = work.dumps()
    assert Work.loads(written, "1.json") == work
    assert written.count(b'"seed": 1}') == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.0.1"}, "1.json was written by x-instruction 0.0.1, and this is"),
        ({"format": 99}, "1.json was written by x-instruction of format 99"),
        ({"tasks": [{}]}, "cannot read the tasks in 1.json: KeyError"),
    ],
)
def test_tasks_of_another_version_are_refused(change: dict[str, object], message: str) -> None:
    table = json.loads(Work(load("demo"), CANDIDATE, TASKS).dumps())
    with pytest.raises(ShardError) as raised:
        Work.loads(json.dumps(table | change).encode(), "1.json")
    assert message in str(raised.value)


def test_the_command_of_an_element_names_its_part() -> None:
    array = Array("/runs/demo", "work/3.json", "demo-candidate-0", 5, needs_gpu=True)
    assert " ".join(array.command("2")) == "work /runs/demo --tasks work/3.json --rank 2 --of 5"


class Cluster:
    """A scheduler that records what it is given, and fails to answer at first."""

    advances = True
    per_element = 8

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.silent = 0
        self.answers: list[Mapping[str, int]] = []

    def check(self, array: Array) -> None:
        pass

    def server(self, stage: StageKey) -> tuple[str, ...]:
        return ()

    def submit(self, array: Array) -> Submission:
        self.arrays.append(array)
        return Submission([str(len(self.arrays))])

    def states(self, submission: Submission) -> Mapping[str, int]:
        self.silent -= 1
        if self.silent >= 0:
            raise EngineError("squeue gave no answer")
        return self.answers.pop(0) if self.answers else {}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(State, "scheduler", lambda state: made)
    monkeypatch.setattr(pool, "_POLLS", (0.0, 0.0))
    return made


STATE = State("slurm", Site().model_dump(mode="json"), "passage")


def submitted(run: RunFolder, state: State, slices: range) -> State:
    """The state after these slices were left."""

    def nothing(*arguments: Any) -> None:
        pass

    detached = pool.DetachedPool(run, load("demo"), state)
    with pytest.raises(pool.Submitted):
        detached.run([ShardTask(SLICE.shard("sw", n), {}) for n in slices], nothing, nothing, nothing)
    return detached.state


def test_new_slices_count_as_progress(cluster: Cluster, tmp_path: Path) -> None:
    run, state = RunFolder(tmp_path), STATE
    for first, end in ((0, 2), (2, 8), (8, 32), (32, 128), (128, 512)):
        state = submitted(run, state, range(first, end))
        assert state.idle == 0
    for _ in range(pool.MOST_IDLE - 1):
        state = submitted(run, state, range(128, 512))
    with pytest.raises(EngineError, match="3 arrays in a row made nothing"):
        submitted(run, state, range(128, 512))


def test_an_unresponsive_scheduler_is_retried(cluster: Cluster) -> None:
    cluster.silent = 5
    pool.wait(STATE)
    assert cluster.silent == -1
    cluster.silent = 1_000
    with pytest.raises(EngineError, match="gave no answer"):
        pool.wait(STATE)


def test_only_one_of_two_processes_submits(cluster: Cluster, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    states.save(run, dataclasses.replace(STATE, number=4))
    seen = states.load(run)
    for _ in range(2):
        # Both have read the state before one of them has the lock.
        execute(load("demo"), tmp_path, 0, False, "passage", NullProgress(), on="slurm", advancing=seen)
    found = states.load(run)
    assert found is not None
    assert (found.number, len(cluster.arrays)) == (5, 1)


def test_a_run_does_not_start_while_elements_are_submitted(cluster: Cluster, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    states.save(run, STATE)
    # Before the lock and with it.
    cluster.answers = [{}, {"running": 1}]
    with pytest.raises(ShardError, match="elements on slurm make"):
        execute(load("demo"), tmp_path, 0, False, "passage", NullProgress(), on="slurm")
    found = states.load(run)
    assert found is not None
    assert not found.ended
    assert not cluster.arrays


def test_a_run_is_not_cancelled_while_another_process_submits(cluster: Cluster, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    states.save(run, STATE)
    assert cancel.callback is not None
    with run.lock(), pytest.raises(RunBusy):
        cancel.callback(tmp_path)
    found = states.load(run)
    assert found is not None
    assert not found.ended


def test_a_loading_server_ends_with_its_element(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    begun = tmp_path / "begun"
    server = ("bash", "-c", f"echo $$ > {begun}.part; mv {begun}.part {begun}; exec sleep 600 # {{port}}")
    run.write_file("work/1.json", Work(load("demo"), CANDIDATE, TASKS, server=server).dumps())
    command = [sys.executable, "-m", "x_instruction", *Array(str(run.root), "work/1.json", "a", 1, False).command("0")]
    with child(command, stdout=subprocess.DEVNULL) as element:
        while not begun.exists():
            assert element.poll() is None
            time.sleep(0.05)
        element.send_signal(signal.SIGUSR1)
        assert element.wait(60) == 128 + signal.SIGUSR1
    assert not alive(int(begun.read_text()))
