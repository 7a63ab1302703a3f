"""Built folders of any size, made in a moment, and a publisher in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from built_set import built
from local_hub_fixture import RunningHub

PUBLISH = [sys.executable, "-m", "x_instruction", "publish"]
Publish = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Builds a folder: languages, rows of each, and what ``built`` takes."""
    made = 0

    def build(*tags: str, **options: int) -> Path:
        nonlocal made
        made += 1
        return built(tmp_path / f"set-{made}", tags, **options)

    return build


@pytest.fixture
def publish(local_hub: RunningHub) -> Publish:
    """Runs the command: ``publish(folder, repo, *options)``; ``hub`` and variables of the environment by name."""

    def run(
        folder: Path, repo: str, *options: str, hub: RunningHub = local_hub, token: str | None = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        env = hub.env(token, **more)
        command = [*PUBLISH, str(folder), repo, *options]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
        for secret in (hub.token, hub.read_token):
            assert secret not in done.stdout + done.stderr
        return done

    return run
