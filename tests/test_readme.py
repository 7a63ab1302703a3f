"""The README's Python runs, on a data set that the tiny model wrote where the README expects the demo's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def demo(recipe_file: Callable[..., Path], tmp_path: Path) -> Path:
    line = [sys.executable, "-m", "x_instruction"]
    run = tmp_path / "runs" / "demo"
    for verb in (["run", str(recipe_file()), "--out", str(run), "--languages", "sw,th"], ["build", str(run)]):
        subprocess.run([*line, *verb], check=True, capture_output=True)
    return tmp_path


def test_snippets_run(demo: Path) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(snippets) >= 2
    for snippet in snippets:
        environment = os.environ | {"HF_HOME": str(demo / "hf"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", snippet], cwd=demo, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_first_rows_prints_a_row_of_each_language(demo: Path) -> None:
    script = ROOT / "examples" / "first_rows.py"
    line = [sys.executable, str(script), str(demo / "runs/demo/dataset")]
    environment = os.environ | {"HF_HOME": str(demo / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [text.split(":")[0] for text in done.stdout.splitlines() if " rows, " in text] == ["sw", "th"]
