"""``x-instruction eval representations``: what a person sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from x_instruction.cli import cli
from x_instruction.errors import XInstructionError


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["eval", "representations", *map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"sentence": f"How to {verb}", "parallel": f"{tag} {verb}", "language": tag}
        for tag in ("fi", "th")
        for verb in ("cook", "read", "paint", "wash")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_bad_input_is_refused(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    for words, arguments in {
        "leave one out": [tiny_model, data, "--layer", 1, "--layers", "all"],
        "layer is 3, expected 0": [tiny_model, data, "--layer", 3],
        "does not exist": [tmp_path / "nothing", data],
        "cannot read": [tiny_model, tmp_path / "nothing.jsonl"],
    }.items():
        done = call(*arguments)
        assert isinstance(done.exception, XInstructionError), done.output
        assert words in str(done.exception)
    assert call(tiny_model).exit_code == 2


def test_the_table_and_the_file_have_the_same_numbers(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "found" / "numbers.json"
    done = call(tiny_model, data, "--limit", 3, "--pooling", "mean", "--out", out)
    assert done.exit_code == 0, done.output
    table = [line.split() for line in done.stdout.splitlines()]
    assert table[0] == ["language", "layer", "pairs", "retrieval", "gap", "uniformity"]
    assert [row[:3] for row in table[1:]] == [["fi", "1", "3"], ["th", "1", "3"], ["mean", "1", "6"]]
    written = json.loads(out.read_text("utf-8"))
    assert (written["pooling"], written["adapter"]) == ("mean", None)
    for row, each in zip(table[1:3], written["measured"], strict=True):
        assert [float(value) for value in row[3:]] == [
            round(each[name], 3) for name in ("retrieval", "gap", "uniformity")
        ]
    for place in (3, 4, 5):
        assert float(table[3][place]) == pytest.approx((float(table[1][place]) + float(table[2][place])) / 2, abs=2e-3)


def test_all_layers_are_measured(data: Path, tiny_model: Path) -> None:
    done = call(tiny_model, f"{data}", "--layers", "all")
    assert done.exit_code == 0, done.output
    rows = [line.split()[:2] for line in done.stdout.splitlines()[1:]]
    assert rows == [[tag, str(layer)] for layer in range(3) for tag in ("fi", "th")] + [
        ["mean", str(layer)] for layer in range(3)
    ]


def test_results_are_recorded(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    from x_instruction.evaluation.record import read_record

    assert call(tiny_model, data, "--layers", "all", "--record", tmp_path / "r").exit_code == 0
    metrics = {metric.id: metric for metric in read_record(tmp_path / "r" / "representations.json").metrics}
    assert len(metrics) == 2 * 3 * 3  # languages, layers, figures
    assert not metrics["representations/fi/uniformity/layer=1"].higher_is_better
    changed = call(tiny_model, data, "--record", tmp_path / "r")
    assert "layers" in str(changed.exception)
    assert call(tiny_model, data, "--record", tmp_path / "r", "--overwrite").exit_code == 0
