"""The Hub scripts: their headers are valid, and the commands of their docstrings run, one after another."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import warm
from huggingface_hub.cli._uv_script_header import parse_uv_script_header
from local_hub_fixture import RunningHub

import x_instruction
from x_instruction.pipeline.progress import NullProgress

Write = Callable[..., Path]

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "hub_scripts").glob("*.py"))
# The order of the work; each needs what those before it made.
ORDER = ("generate_shards", "refine_shards", "publish_dataset", "finetune", "push_model", "evaluate")
RECIPE = """
name = "mine"
languages = ["sw", "fi"]
[corpus]
source = "sample"
passages = 2
[generate]
candidates = 2
model = {name = "embedded"}
[refine]
rater = "pmi"
model = {name = "embedded"}
[diversify]
embedder = "embedded"
[publish]
test = 0.4
"""
TRAINING = """
name = "my-training"
[model]
name = "embedded"
[train]
rank = 2
steps = 1
batch_size = 2
max_tokens = 64
"""


def test_every_script_is_tested() -> None:
    assert {path.stem for path in SCRIPTS} == set(ORDER)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_headers_are_valid(path: Path) -> None:
    text = path.read_text("utf-8")
    block = re.search(r"(?m)^# /// script\n((?:#.*\n)+?)# ///$", text)
    assert block
    header = tomllib.loads("".join(line[2:] or "\n" for line in block[1].splitlines(keepends=True)))
    assert header["requires-python"] == ">=3.11"
    assert all(name.startswith("x_instruction") for name in header["dependencies"])
    # Read by the code that `hf jobs uv run` reads it with: an unknown key is an error there.
    job = parse_uv_script_header(text)
    assert job is not None
    assert job.image
    assert job.flavor
    assert job.timeout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_bad_input_is_reported_in_one_line(path: Path, tmp_path: Path) -> None:
    given = {
        "generate_shards": ["no-such-recipe"],
        "refine_shards": ["missing"],
        "finetune": ["no-such-recipe", "x.jsonl"],
    }.get(path.stem, ["missing", "me/missing"])
    done = warm.run([sys.executable, path, *given], capture_output=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def commands(path: Path) -> list[list[str]]:
    """The local commands of a script's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    found = re.findall(r"(?m)^ +uv run (hub_scripts/.+)$", text)
    assert found, f"{path.name} shows no command"
    return [shlex.split(line) for line in found]


@pytest.mark.model
def test_commands_of_docstrings_run(tmp_path: Path, local_hub: RunningHub) -> None:
    """A small recipe takes the place of the user's, and the trainings have few steps."""
    pytest.importorskip("trl")
    (tmp_path / "my-recipe.toml").write_text(RECIPE, "utf-8")
    (tmp_path / "my-training.toml").write_text(TRAINING, "utf-8")
    pairs = [
        {"instruction": f"Name {n} things.", "output": f"Moja, mbili, tatu {n}.", "language": "sw"} for n in (1, 2)
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
    (tmp_path / "mix").mkdir()
    (tmp_path / "mix" / "train.jsonl").write_text((tmp_path / "test.jsonl").read_text("utf-8"), "utf-8")
    environment = {**local_hub.env(), "OMP_NUM_THREADS": "2"}
    for name in ORDER:
        for script, *arguments in commands(ROOT / "hub_scripts" / f"{name}.py"):
            given = quick(name, arguments)
            done = warm.run(
                [sys.executable, ROOT / script, *given], capture_output=True, text=True, cwd=tmp_path, env=environment
            )
            assert done.returncode == 0, f"{script} {' '.join(given)}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "models" / "demo" / "adapter_model.safetensors").exists()


def quick(name: str, arguments: list[str]) -> list[str]:
    """The arguments of a docstring for a test: small numbers, one rank, a short training, a free repository name."""
    text = shlex.join(arguments).replace("--limit 10", "--limit 2").replace("--rank 2 --of 8", "--rank 0 --of 1")
    text = text.replace("mix/train.parquet", "mix/train.jsonl").replace("me/", f"scripts-{os.getpid()}/")
    return shlex.split(text.replace("embedded", "my-training.toml") if name == "finetune" else text)


def test_a_rank_makes_only_its_part(recipe_file: Write, tmp_path: Path) -> None:
    recipe, out = recipe_file(corpus={"source": "sample", "shard_size": 1}), tmp_path / "run"
    x_instruction.run(recipe, out, until="passage", workers=1, progress=NullProgress())
    script = ROOT / "hub_scripts" / "generate_shards.py"
    warm.run([sys.executable, script, recipe, "--out", out, "--rank", "2", "--of", "8"], check=True)
    shards = [(tag, index) for tag in ("fi", "th", "bn") for index in range(12)]
    made = {(path.parent.name, int(path.stem)) for path in (out / "candidate").rglob("[0-9]*[0-9].parquet")}
    assert made == set(shards[2::8])
