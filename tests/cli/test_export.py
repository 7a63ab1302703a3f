"""``x-instruction export``: what a person sees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from x_instruction.builders.formats import FORMATS
from x_instruction.builders.preferences import PREFERENCES
from x_instruction.cli import export


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "x_instruction", "export", *map(str, arguments)]
    return warm.run(line, capture_output=True, timeout=300)


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    folder = tmp_path / "originals"
    folder.mkdir()
    rows = [{"instruction": f"What is {n}?", "input": "", "output": f"Jibu {n}"} for n in range(3)]
    for tag in ("sw", "no"):
        (folder / f"{tag}.json").write_text(json.dumps(rows))
    return folder


def test_the_command_offers_every_format() -> None:
    assert set(export.FORMATS) == set(FORMATS | PREFERENCES)


def test_errors_are_one_line_without_a_traceback(originals: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (originals / "th.json").write_text('[{"instruction": "Why?", "output": "เพราะ"},\n {"instruction": "Why?"}]')
    for expected, arguments in {
        "line 2, column 2: row 1 has no 'output'": ["--languages", "th"],
        "did you mean": ["--languages", "swahilli"],
        "has no file fi.json for 'fi', only no, sw, th": ["--languages", "fi"],
        "it has no split 'test', only train": ["--languages", "sw", "--split", "test"],
    }.items():
        done = cli(originals, "--format", "original", "--out", out, *arguments)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert (done.returncode, len(errors), "Traceback" in done.stderr) == (1, 1, False), done.stderr
        assert expected in errors[0]
        assert not list(tmp_path.glob("out/*"))
    done = cli(originals, "--format", "csv", "--out", out)
    assert done.returncode == 2
    assert "'original', 'jsonl'" in done.stderr


def test_the_written_files_are_printed(originals: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cli(originals, "--format", "chat", "--out", out)
    assert done.returncode == 0, done.stderr
    names = ["no.jsonl", "sw.jsonl", "dataset_info.json", "axolotl.yaml"]
    assert done.stdout.splitlines() == [str(out / name) for name in names]
    assert f"sw: 3 rows, {out / 'sw.jsonl'}" in done.stderr
    again = cli(originals, "--format", "chat", "--out", out)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr
    assert cli(originals, "--format", "chat", "--out", out, "--overwrite").returncode == 0
