"""Workers of one machine that are killed: the run replaces them and makes the same bytes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command_line import Say
from engines.openai_server import OpenAIServer
from scale import small_run
from scale.small_run import LANGUAGES, REQUESTS, SHARDS, Watched, requests, same_bytes

from x_instruction.config.recipe import load
from x_instruction.engines.request_cache import tokens_used
from x_instruction.errors import ShardsSetAside
from x_instruction.pipeline.activity import Activity
from x_instruction.pipeline.executors.processes import WorkerDied
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

# What the answers of the killed worker that were not yet committed may cost.
MOST_REQUESTS = 1.05 * REQUESTS


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


class Killing(NullProgress):
    """Kills all workers, busy and idle ones, as soon as one says that it works on a stage."""

    def __init__(self, stage: str) -> None:
        self.stage_name = stage
        self.killed: set[int] = set()
        self.made: Counter[str] = Counter()

    def update(self, task: ShardTask, activity: Activity) -> None:
        if task.key.stage == self.stage_name and not self.killed:
            self.killed = {child.pid for child in multiprocessing.active_children() if child.pid}
            for worker in self.killed:
                kill(worker)

    def done(self, task: ShardTask, text: str) -> None:
        self.made[str(task.key)] += 1


def once(stage: str) -> tuple[list[int], Any]:
    """A function that kills the first worker that asks for a stage, and the list of killed ones."""
    killed: list[int] = []

    def seen(process: int | None, body: dict[str, Any]) -> None:
        if process and stage == ("rated" if body.get("logprobs") else "candidate") and not killed:
            killed.append(process)
            kill(process)

    return killed, seen


@pytest.mark.parametrize("stage", ["passage", "candidate", "rated"])
def test_a_killed_worker_is_replaced_and_its_shard_repeated(stage: str, tmp_path: Path, one_worker: Path) -> None:
    killed, seen = once(stage)
    progress = Killing(stage if stage == "passage" else "")
    with Watched(seen) as server:
        recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
        small_run.make(recipe, tmp_path / "run", workers=2, until="rated", progress=progress)
        assert len(progress.killed if stage == "passage" else killed) == (2 if stage == "passage" else 1)
        assert requests(server) <= MOST_REQUESTS
    same_bytes(one_worker, tmp_path / "run", until="rated")
    assert set(progress.made.values()) == {1}
    assert len(progress.made) == len(LANGUAGES) + 2 * SHARDS * len(LANGUAGES)
    assert not list((tmp_path / "run").rglob("*.failed.json"))


def test_a_worker_killed_during_selection_is_replaced(server: OpenAIServer, tmp_path: Path, one_worker: Path) -> None:
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
    shutil.copytree(one_worker, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "curated" / "th")
    progress = Killing("curated")
    small_run.make(recipe, tmp_path / "run", workers=2, progress=progress)
    assert len(progress.killed) == 2
    same_bytes(one_worker, tmp_path / "run")
    assert requests(server) == 0


def test_a_shard_that_crashes_its_workers_is_set_aside_and_can_be_retried(
    tmp_path: Path, one_worker: Path, say: Say
) -> None:
    key = StageKey("candidate").shard("fi", 2)
    poison = next(RunFolder(one_worker).read(key.at(StageKey("passage")))).text[:40]
    killed: list[int] = []
    harmful = True

    def seen(process: int | None, body: dict[str, Any]) -> None:
        # Requests that were sent with it arrive when the process is gone.
        if harmful and process and poison in json.dumps(body, ensure_ascii=False):
            killed.append(process)
            kill(process)

    with Watched(seen) as server:
        recipe = small_run.write_recipe(tmp_path / "recipe.toml", server.url)
        line = ("run", recipe, "--out", tmp_path / "run", "--workers", 2, "--until", "refine")
        code, _, errors = say(*line)
        assert code == 1
        assert f"error: 1 shard was set aside ({key}: 3 workers died of it; the last one ended with" in errors
        assert "rerun the same command to try again" in errors
        assert len(set(killed)) == 3
        run = RunFolder(tmp_path / "run")
        failure = run.failure(key)
        assert failure is not None
        assert failure.attempts == 3
        assert "exit code -9 (killed, often for lack of memory" in failure.reason
        # Everything else is made, as far as it does not need this shard, and nothing of its language counts as whole.
        others = SHARDS * len(LANGUAGES) - 1
        for stage in (StageKey("candidate"), StageKey("rated")):
            assert len(list(run.reports(stage))) == others
            assert [run.count(stage, tag) for tag in LANGUAGES] == [None, SHARDS, SHARDS]
        _, status, _ = say("status", tmp_path / "run")
        assert f"set aside: {key}: 3 workers died of it; the last one" in status
        harmful = False
        before = requests(server)
        code, _, errors = say(*line)
        assert code == 0, errors
        assert run.failure(key) is None
        assert requests(server) - before <= 2 * 6
    same_bytes(one_worker, tmp_path / "run", until="rated")


def test_request_caches_on_scratch_make_the_same_bytes(
    server: OpenAIServer, tmp_path: Path, one_worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For network file systems, where SQLite does not work."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("X_INSTRUCTION_SCRATCH", str(tmp_path / "scratch"))
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
    run = small_run.make(recipe, tmp_path / "run", until="rated")
    same_bytes(one_worker, tmp_path / "run", until="rated")
    assert not list((tmp_path / "scratch").iterdir())
    caches = run.caches(StageKey("candidate"))
    whole = RunFolder(one_worker).caches(StageKey("candidate"))
    assert [tokens_used(path) for path in caches] == [tokens_used(path) for path in whole] != []
    # A shard that is made again is answered by the copies.
    run.remove(StageKey("candidate").shard("th", 1))
    small_run.make(recipe, tmp_path / "run", until="rated")
    assert requests(server) == REQUESTS


def test_workers_that_cannot_start_end_the_run(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nsleep 0.1\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr("multiprocessing.spawn._python_exe", os.fsencode(program))
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
    with pytest.raises(WorkerDied, match="3 workers in a row died before they took a task; the last one ended with"):
        small_run.make(recipe, tmp_path / "run", workers=2, until="passage")


def test_the_error_of_many_shards_is_short() -> None:
    error = ShardsSetAside({f"candidate/round-0/sw/{index:05d}": "3 workers died of it" for index in range(9)})
    assert str(error).startswith("9 shards were set aside (candidate/round-0/sw/00000: 3 workers died of it; ")
    assert str(error).endswith("; and 5 more): rerun the same command to try again")
