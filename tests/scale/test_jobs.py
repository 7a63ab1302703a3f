"""Runs on jobs, with the local hub in place of the Hub: the unmodified client submits them, and they run offline."""

from __future__ import annotations

import sys
from pathlib import Path

from engines.openai_server import OpenAIServer
from local_hub_fixture import RunningHub
from scale import small_run

ROOT = Path(__file__).parent.parent.parent
HF = [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()"]


def test_a_script_with_a_local_recipe(
    jobs_hub: RunningHub, server: OpenAIServer, one_worker: Path, tmp_path: Path
) -> None:
    """``hf jobs uv run`` uploads the script and the recipe, and a mounted bucket keeps the run."""
    recipe = small_run.write_recipe(tmp_path / "small.toml", server.url)
    env = jobs_hub.env(HF_HUB_DISABLE_EXPERIMENTAL_WARNING="1")
    assert jobs_hub.ask("/api/buckets/ci/runs", "POST", {}).status == 200
    command = ["jobs", "uv", "run", "-v", "hf://buckets/ci/runs:/x-runs", str(ROOT / "hub_scripts/generate_shards.py")]
    said = jobs_hub.run([*HF, *command, str(recipe), "--out", "/x-runs/small"], env)
    assert "completed" in said
    made = jobs_hub.folder / "buckets/ci/runs/files/small"
    small_run.same_bytes(one_worker, made, until="candidate")
