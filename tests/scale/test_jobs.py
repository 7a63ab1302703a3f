"""Runs on jobs, with the local hub in place of the Hub: the unmodified client submits them, and they run offline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import warm
from engines.openai_server import OpenAIServer
from local_hub_fixture import RunningHub
from scale import small_run

from x_instruction.config.recipe import load

ROOT = Path(__file__).parent.parent.parent
HF = [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()"]
SITE = """
[hf_jobs]
cpu_flavor = "cpu-basic"
shards_per_job = 6
timeout = "10m"
"""
CANDIDATES = small_run.REQUESTS // 2


class Runs:
    """Runs of the small recipe on jobs.

    Args:
        hub: where the jobs run.
        folder: for the recipe, the site and what is downloaded.
        name: of the run in the bucket.
    """

    def __init__(self, hub: RunningHub, folder: Path, name: str) -> None:
        self.hub = hub
        self.location = f"hf://buckets/ci/scale/{name}"
        self.files = hub.folder / "buckets/ci/scale/files" / name
        self._folder = folder
        (folder / "site.toml").write_text(SITE)
        hub.ask("/api/buckets/ci/scale", "POST", {})

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of this package, as a client of the hub."""
        env = self.hub.env(X_INSTRUCTION_SCRATCH=str(self._folder / "scratch"))
        command = [sys.executable, "-m", "x_instruction", *arguments]
        return warm.run(command, env=env, cwd=self._folder, capture_output=True, timeout=300)

    def run(self, recipe: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Make the run, or continue it."""
        place = ["--on", "hf-jobs", "--site", "site.toml", "--out", self.location]
        return self.command("run", str(recipe), *place, *arguments)


@pytest.fixture
def runs(jobs_hub: RunningHub, tmp_path: Path) -> Runs:
    return Runs(jobs_hub, tmp_path, tmp_path.name)


def test_jobs_make_the_same_bytes(runs: Runs, server: OpenAIServer, tmp_path: Path) -> None:
    """Of two shards: each request to a bucket takes some time. The test below makes all shards."""
    recipe = small_run.write_recipe(tmp_path / "small.toml", server.url)
    text = recipe.read_text("utf-8").replace("passages = 10", "passages = 6")
    recipe.write_text(text.replace(json.dumps(small_run.LANGUAGES), '["fi"]'), "utf-8")
    small_run.make(load(recipe), tmp_path / "local", until="rated")
    made = small_run.requests(server)
    shown = runs.run(recipe, "--until", "refine", "--dry-run")
    assert shown.stdout.startswith("# 1 job: RANK is 0 to 0\nhf jobs uv run --detach "), shown.stderr
    assert not runs.files.exists()
    done = runs.run(recipe, "--until", "refine")
    assert done.returncode == 0, done.stderr
    small_run.same_bytes(tmp_path / "local", runs.files, until="rated")
    assert small_run.requests(server) == 2 * made > 0
    assert "hf-jobs: complete" in runs.command("status", runs.location).stdout
    names = [one["labels"]["name"] for one in runs.hub.ask("/api/jobs/ci").json]
    submitted = ["small-rated-0-0", "small-candidate-0-0", "small-passage-0-0"]
    assert [name for name in names if name.startswith("small-")][:3] == submitted


@pytest.mark.store
def test_a_run_continues_after_killed_and_cancelled_jobs(runs: Runs, one_worker: Path, tmp_path: Path) -> None:
    """A job dies, and the run continues by itself; the run is cancelled, and the same command continues it."""
    events: list[str] = []

    def seen(process: int | None, _: dict[str, Any]) -> None:
        number = small_run.requests(server)
        if number == 0:
            assert process
            events.append("killed")
            os.killpg(os.getpgid(process), signal.SIGKILL)
        if number == 40:
            threading.Thread(target=lambda: events.append(runs.command("cancel", runs.location).stdout)).start()

    with small_run.Watched(seen) as server:
        recipe = small_run.write_recipe(tmp_path / "small.toml", server.url)
        one_at_a_time = ("--until", "generate", "--set", "generate.model.server.concurrency=1")
        first = runs.run(recipe, *one_at_a_time)
        assert (first.returncode, "was ended (cancelled): rerun the same command" in first.stderr) == (1, True)
        second = runs.run(recipe, *one_at_a_time)
        assert second.returncode == 0, second.stderr
        assert small_run.requests(server) <= CANDIDATES * 1.05
    assert events[0] == "killed"
    assert "cancelled generate" in events[1]
    small_run.same_bytes(one_worker, runs.files, until="candidate")


def test_a_script_runs_with_a_local_recipe(
    jobs_hub: RunningHub, server: OpenAIServer, one_worker: Path, tmp_path: Path
) -> None:
    """``hf jobs uv run`` uploads the script and the recipe, and a mounted bucket keeps the run."""
    recipe = small_run.write_recipe(tmp_path / "small.toml", server.url)
    env = jobs_hub.env(HF_HUB_DISABLE_EXPERIMENTAL_WARNING="1")
    assert jobs_hub.ask("/api/buckets/ci/runs", "POST", {}).status == 200
    command = ["jobs", "uv", "run", "-v", "hf://buckets/ci/runs:/x-runs", str(ROOT / "hub_scripts/generate_shards.py")]
    output = jobs_hub.run([*HF, *command, str(recipe), "--out", "/x-runs/small"], env)
    assert "completed" in output
    made = jobs_hub.folder / "buckets/ci/runs/files/small"
    small_run.same_bytes(one_worker, made, until="candidate")
