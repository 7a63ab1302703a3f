"""Runs on a Ray cluster of two nodes: the bytes of one worker, whatever is lost during the run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines.openai_server import OpenAIServer
from scale import small_run
from scale.small_run import LANGUAGES, REQUESTS, SHARDS, Watched, requests, same_bytes

from x_instruction.config.model import Vllm
from x_instruction.config.recipe import load
from x_instruction.config.site import Ray, Site
from x_instruction.errors import BudgetReached, EngineError, ShardError, ShardsSetAside
from x_instruction.pipeline.executors.ray import RayExecutor
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

pytestmark = [
    pytest.mark.ray,
    # Ray leaves log files of its servers open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
COMMAND = [sys.executable, "-m", "x_instruction", "run"]
# A worker that is killed loses at most the answers of its shard.
LOST = REQUESTS / 20
MOST_REQUESTS = REQUESTS + LOST


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head and two nodes, shared by all tests."""
    from scale.ray_cluster import SmallCluster, offline

    if not offline():
        pytest.skip("Ray is tested in a network namespace of its own: run make test-ray")
    running = SmallCluster(nodes=2)
    yield running
    running.shutdown()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for sockets, whose paths may have about 100 characters."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class Gate:
    """Holds a server back at a request, until the test has done something.

    Args:
        at: the number of the request.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, process: int | None, body: dict[str, Any]) -> None:
        self.count += 1
        if self.count == self.at:
            self.reached.set()
            assert self.opened.wait(180)


def few_at_once(path: Path, url: str) -> Path:
    """Write the recipe of a run with two requests in flight, since a kill loses those of its worker."""
    recipe = small_run.write_recipe(path, url)
    recipe.write_text(recipe.read_text("utf-8").replace("retries = 1", "retries = 1, concurrency = 2"), "utf-8")
    return recipe


def start(recipe: Path, run: Path, cluster: Any) -> subprocess.Popen[str]:
    """Start a run in a process of its own, until rated pairs."""
    line = [str(recipe), "--out", str(run), "--until", "refine", "--on", f"ray:{cluster.address}"]
    return subprocess.Popen(
        [*COMMAND, *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def run(tmp_path: Path, one_worker: Path) -> Path:
    """The folder of a run whose passages are complete."""
    shutil.copytree(one_worker / "passage", tmp_path / "run" / "passage")
    shutil.copy(one_worker / "run.json", tmp_path / "run")
    return tmp_path / "run"


def eventually(check: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_nodes_make_the_bytes_of_one_worker(
    cluster: Any, server: OpenAIServer, tmp_path: Path, one_worker: Path
) -> None:
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
    small_run.make(recipe, tmp_path / "run", 0, on=f"ray:{cluster.address}")
    same_bytes(one_worker, tmp_path / "run")
    assert requests(server) == REQUESTS


def test_a_ray_client_outside_of_the_cluster_makes_the_same_bytes(
    cluster: Any, server: OpenAIServer, run: Path, tmp_path: Path, one_worker: Path
) -> None:
    from scale.ray_cluster import CLIENT

    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
    small_run.make(recipe, run, 0, "rated", on=CLIENT)
    same_bytes(one_worker, run, "rated")
    assert requests(server) == REQUESTS


def test_a_killed_worker_is_replaced(cluster: Any, run: Path, tmp_path: Path, one_worker: Path) -> None:
    killed: list[int] = []

    def seen(process: int | None, body: dict[str, Any]) -> None:
        if process and body.get("logprobs") and not killed:
            killed.append(process)
            os.kill(process, signal.SIGKILL)

    with Watched(seen) as server:
        recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
        small_run.make(recipe, run, 0, "rated", on=f"ray:{cluster.address}")
        assert killed
        assert requests(server) <= MOST_REQUESTS
    same_bytes(one_worker, run, "rated")


def test_a_lost_node_is_replaced_by_new_ones(cluster: Any, run: Path, tmp_path: Path, one_worker: Path) -> None:
    cluster.lose_node(cluster.nodes.pop())
    gate = Gate(at=30)
    with Watched(gate) as server:
        driver = start(few_at_once(tmp_path / "recipe.toml", server.url), run, cluster)
        assert gate.reached.wait(180)
        cluster.lose_node(cluster.nodes.pop())
        cluster.nodes += [cluster.add_node(), cluster.add_node()]
        gate.opened.set()
        output, _ = driver.communicate(timeout=180)
        assert driver.returncode == 0, output
        assert requests(server) <= MOST_REQUESTS
    same_bytes(one_worker, run, "rated")


def test_a_killed_run_leaves_no_worker_and_continues(cluster: Any, run: Path, tmp_path: Path, one_worker: Path) -> None:
    from scale.ray_cluster import workers

    asked = 0
    for number, at in ((signal.SIGINT, 20), (signal.SIGKILL, 20), (None, 0)):
        gate = Gate(at)
        with Watched(gate) as server:
            driver = start(few_at_once(tmp_path / "recipe.toml", server.url), run, cluster)
            if number is not None:
                assert gate.reached.wait(180)
                driver.send_signal(number)
            output, _ = driver.communicate(timeout=180)
            eventually(lambda: not workers())
            gate.opened.set()
            assert "Traceback" not in output
            asked += requests(server)
    # Two runs were ended, of two workers each.
    assert asked <= REQUESTS + 2 * 2 * LOST
    same_bytes(one_worker, run, "rated")


def test_a_shard_that_crashes_its_workers_is_set_aside(
    cluster: Any, run: Path, tmp_path: Path, one_worker: Path
) -> None:
    key = StageKey("candidate").shard("fi", 2)
    poison = next(RunFolder(one_worker).read(key.at(StageKey("passage")))).text[:40]
    killed: set[int] = set()

    def seen(process: int | None, body: dict[str, Any]) -> None:
        if process and poison in json.dumps(body, ensure_ascii=False):
            killed.add(process)
            os.kill(process, signal.SIGKILL)

    with Watched(seen) as server:
        recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
        with pytest.raises(ShardsSetAside, match=f"1 shard was set aside .{key}: 3 workers died of it"):
            small_run.make(recipe, run, 0, "candidate", on=f"ray:{cluster.address}")
    made = RunFolder(run)
    failure = made.failure(key)
    assert failure is not None
    assert (failure.attempts, len(killed)) == (3, 3)
    assert "the last one ended: its worker process has died." in failure.reason
    assert "common causes" not in failure.reason
    assert len(list(made.reports(StageKey("candidate")))) == SHARDS * len(LANGUAGES) - 1


def test_a_folder_that_is_not_shared_is_reported_before_work_starts(
    cluster: Any, server: OpenAIServer, run: Path, tmp_path: Path
) -> None:
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
    with cluster.node_without(run), pytest.raises(ShardError, match=r"does not see the folder .*/run "):
        small_run.make(recipe, run, 0, "rated", on=f"ray:{cluster.address}")
    assert not list((run / "candidate").rglob("*.parquet"))
    assert not list((run).rglob(".*.tmp"))


def test_workers_stop_at_the_budget(cluster: Any, server: OpenAIServer, run: Path, tmp_path: Path) -> None:
    recipe = small_run.write_recipe(tmp_path / "recipe.toml", server.url)
    recipe.write_text(recipe.read_text("utf-8").replace("retries = 1", "retries = 1, output_price = 1e5"), "utf-8")
    with pytest.raises(BudgetReached, match="the budget of 20 is reached"):
        # An answer costs 1.
        small_run.make(load(recipe), run, 0, "rated", on=f"ray:{cluster.address}", budget=20)
    assert 20 <= requests(server) < REQUESTS


@pytest.mark.parametrize(("gpus", "size"), [(0, 4), (2, 2)])
def test_missing_gpus_are_reported_before_work_starts(cluster: Any, tmp_path: Path, gpus: int, size: int) -> None:
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", "http://127.0.0.1:9/v1"))
    model = recipe.generate.model.replace(engine="vllm", vllm=Vllm(tensor_parallel=4))
    recipe = recipe.replace(generate=recipe.generate.replace(model=model))
    message = f"a worker needs {size} GPUs and 1 CPU of one node, and the node of the Ray cluster with most GPUs has 1:"
    with pytest.raises(EngineError, match=message):
        RayExecutor(RunFolder(tmp_path), recipe, cluster.address, 0, None, 0.0, Site(ray=Ray(gpus=gpus)))


def test_a_cluster_of_another_version_is_reported(
    cluster: Any, server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.__version__", "2.50.0")
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
    with pytest.raises(EngineError, match=r"started with: Ray: 2\.60\.0 .* started with: Ray: 2\.50\.0"):
        small_run.make(recipe, tmp_path / "run", 0, on=f"ray:{cluster.address}")
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_the_next_run_stops_a_cluster_left_by_a_killed_one(
    cluster: Any, run: Path, tmp_path: Path, one_worker: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scale.ray_cluster import ray_processes

    # No other cluster is found there. Ray writes a token to the home folder.
    monkeypatch.setenv("RAY_TMPDIR", str(short_folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    gate = Gate(at=20)
    with Watched(gate) as server:
        line = [*COMMAND, str(few_at_once(tmp_path / "recipe.toml", server.url)), "--out", str(run), "--on", "ray"]
        before = ray_processes()
        driver = subprocess.Popen([*line, "--until", "refine"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert gate.reached.wait(180)
        driver.kill()
        driver.wait()
        started = ray_processes() - before
        assert started
        gate.opened.set()
        subprocess.run([*line, "--until", "refine"], check=True, capture_output=True, timeout=180)
        eventually(lambda: not started & ray_processes())
    same_bytes(one_worker, run, "rated")
