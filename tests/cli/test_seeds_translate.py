"""``x-instruction seeds translate``: one-line errors, before a model is loaded if possible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from x_instruction.cli import cli
from x_instruction.errors import XInstructionError


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    path.write_text(json.dumps({"instruction": "Why?", "output": "Cook rice."}) + "\n", "utf-8")
    return path


def translate(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["seeds", "translate", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--languages", "swahilli"), "unknown language 'swahilli', did you mean"),
        (("--languages", "sw"), "model is missing"),
        (("--languages", "sw", "--set", "model.name"), "KEY=VALUE"),
        (("--languages", "sw", "--set", "model.name=x", "--set", "min_scor=1"), "did you mean 'min_score'"),
        (
            ("--languages", "sw", "--set", "model.name=x", "--set", "model.engine=batch"),
            'model.engine is "batch", expected',
        ),
        (("--languages", "bm", "--set", "model.name=x"), "py3langid does not know Bambara"),
        (("--languages", "sw", "--set", "model.name=/no/model"), "/no/model does not exist"),
        (("--languages", "sw", "--set", "model.name=x", "--set", "model.engine=vlm"), "unknown engine 'vlm'"),
    ],
)
def test_bad_input_is_refused(seeds: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = translate(seeds, *arguments, "--out", tmp_path / "out.jsonl")
    assert isinstance(done.exception, XInstructionError), done.output
    assert message in str(done.exception)
    assert not (tmp_path / "out.jsonl").exists()


def test_counts_and_reasons_are_printed(seeds: Path, tmp_path: Path, tiny_model: Path) -> None:
    keys = ("language_check=false", "min_score=0", "max_tokens=40", f"model.name={tiny_model}")
    sets = [part for key in keys for part in ("--set", key)]
    with seeds.open("a") as stream:
        stream.write("broken\n")
    done = translate(seeds, "--languages", "swh_Latn", "--out", tmp_path / "sw.jsonl", *sets)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'sw.jsonl'}: 1 seeds of 2 rows\n"
    assert done.stderr.split() == ["dropped", "malformed_json", "1"]
