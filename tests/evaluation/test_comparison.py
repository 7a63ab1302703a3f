"""Two records side by side, in the package and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.errors import CorpusError
from x_instruction.evaluation.comparison import compare
from x_instruction.evaluation.metric import Data, Instance, Metric, ModelInfo
from x_instruction.evaluation.record import read_records, write_record


def result(
    folder: Path,
    scores: dict[str, float],
    name: str = "accuracy",
    value: float | None = None,
    instances: bool = True,
    file: str = "benchmarks",
) -> Path:
    mean = sum(scores.values()) / len(scores)
    metric = Metric(
        task="belebele", name=name, value=mean if value is None else value, n=len(scores), data=Data(name="b"),
        language="sw",
    )  # fmt: skip
    samples = [
        Instance(metric=metric.id, id=id, input=f"question {id}", score=score, correct=score > 0.5)
        for id, score in scores.items()
    ]
    return write_record(folder, file, ModelInfo(name=folder.name), [metric], samples if instances else [], settings={})


A = {str(number): float(number % 2) for number in range(40)}
B = {str(number): float(number % 4 != 0) for number in range(40)}


def test_differences_are_paired_by_sample(tmp_path: Path) -> None:
    result(tmp_path / "a", A)
    # Ten samples of another model are missing; another order does not matter.
    result(tmp_path / "b", dict(reversed(list(B.items())[:30])))
    (compared,) = compare(read_records(tmp_path / "a"), read_records(tmp_path / "b"))
    assert compared.pairs == 30
    assert compared.difference == pytest.approx(7 / 30)
    assert compared.low is not None
    assert compared.high is not None
    assert 0 < compared.low < compared.difference < compared.high < 0.45
    printed = CliRunner().invoke(cli, ["eval", "compare", str(tmp_path / "a"), str(tmp_path / "b" / "benchmarks.json")])
    assert printed.output.startswith("A  a\nB  b\n")
    assert "↑" in printed.output
    rows = CliRunner().invoke(cli, ["eval", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    assert json.loads(rows.output)[0]["better"] is True
    # Of 30 samples B is better in 7, and A in none: (7 * 100 + 23 * 50) / 30.
    assert json.loads(rows.output)[0]["side_by_side"] == pytest.approx(1850 / 30)


@pytest.mark.parametrize("changes", [{"instances": False}, {"value": 0.9}])
def test_results_without_pairs_have_no_interval(changes: dict[str, float], tmp_path: Path) -> None:
    left, right = result(tmp_path / "a", A), result(tmp_path / "b", B, **changes)  # type: ignore[arg-type]
    (compared,) = compare(read_records(left), read_records(right))
    assert (compared.low, compared.pairs) == (None, 0)
    assert compared.difference == compared.b.value - compared.a.value


def test_results_without_a_common_metric_are_refused(tmp_path: Path) -> None:
    left, right = result(tmp_path / "a", A), result(tmp_path / "b", B, name="f1")
    with pytest.raises(CorpusError, match=r"the first has belebele/sw/accuracy, the second belebele/sw/f1"):
        compare(read_records(left), read_records(right))


def test_records_of_several_systems_are_compared_by_file_name(tmp_path: Path) -> None:
    for folder, system, scores in (("j", "base", A), ("j", "tuned", B), ("k", "base", A), ("k", "tuned", A)):
        result(tmp_path / folder, scores, file=f"judge-{system}")
    found = compare(read_records(tmp_path / "j"), read_records(tmp_path / "k"))
    assert [(one.record, one.difference) for one in found] == [("judge-base", 0), ("judge-tuned", -0.25)]
    printed = CliRunner().invoke(cli, ["eval", "compare", str(tmp_path / "j"), str(tmp_path / "k")])
    assert "judge-tuned" in printed.output
    result(tmp_path / "other", A)
    with pytest.raises(CorpusError, match=r"is in judge-base.json and judge-tuned.json of .*j, and no file name is in"):
        compare(read_records(tmp_path / "j"), read_records(tmp_path / "other"))


def test_differences_without_an_interval_are_explained(tmp_path: Path) -> None:
    left, right = result(tmp_path / "a", A), result(tmp_path / "b", B, instances=False)
    printed = CliRunner().invoke(cli, ["eval", "compare", str(left), str(right)])
    assert "differences without an interval: 1 of 1" in printed.output
