"""Ctrl-C: one line that says what is kept, exit code 130, and a run that continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from x_instruction.cli import cli

Write = Callable[..., Path]


@pytest.mark.parametrize(("workers", "after"), [(1, "corpus: fi"), (2, "corpus: 2 tasks"), (2, "generate: fi")])
def test_a_run_is_interrupted_and_continues(recipe_file: Write, tmp_path: Path, workers: int, after: str) -> None:
    root = tmp_path / "run"
    line = [sys.executable, "-m", "x_instruction", "run", str(recipe_file()), "--out", str(root), "--until", "generate"]
    line += ["--languages", "fi,th", "--workers", str(workers)]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stderr is not None
        said = next(text for text in run.stderr if text.startswith(after))
        # As a terminal does: to every process of the group.
        os.killpg(run.pid, signal.SIGINT)
        out, errors = run.communicate(timeout=120)
    assert run.returncode == 130, said + errors
    last = errors.splitlines()[-1]
    assert last == f"interrupted: finished shards and answers are kept in {root}; rerun the same command to continue"
    assert "Traceback" not in errors
    assert "Aborted" not in errors
    assert out == ""
    done = subprocess.run(line, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_a_command_that_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("x_instruction.config.recipe.names", interrupted)
    done = CliRunner().invoke(cli, ["recipe", "list"])
    assert done.exit_code == 130
    assert done.stderr == "interrupted: rerun the same command to start again\n"
