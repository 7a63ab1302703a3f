"""The README's Python runs, on a data set that the tiny model wrote where the README expects the demo's."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import warm
from factories import write_recipe

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def demo(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    recipe, run = write_recipe(folder / "recipe.toml", tiny_model), folder / "runs" / "demo"
    line = [sys.executable, "-m", "x_instruction"]
    command = ["run", str(recipe), "--out", str(run), "--languages", "sw,th", "--workers", "1"]
    # Random weights write one instruction for nearly all passages, which is worth a warning and 2.
    assert warm.run([*line, *command], capture_output=True).returncode in (0, 2)
    warm.run([*line, "build", str(run)], check=True, capture_output=True)
    return folder


def test_python_snippets_run(demo: Path) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(snippets) >= 2
    for snippet in snippets:
        environment = os.environ | {"HF_HOME": str(demo / "hf"), "HF_HUB_OFFLINE": "1"}
        done = warm.run([sys.executable, "-c", snippet], cwd=demo, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_first_rows_prints_a_row_of_each_language(demo: Path) -> None:
    script = ROOT / "examples" / "first_rows.py"
    line = [sys.executable, str(script), str(demo / "runs/demo/dataset")]
    environment = os.environ | {"HF_HOME": str(demo / "hf"), "HF_HUB_OFFLINE": "1"}
    done = warm.run(line, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert [text.split(":")[0] for text in done.stdout.splitlines() if " rows, " in text] == ["sw", "th"]
