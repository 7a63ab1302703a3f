"""``eval language`` on a folder of answers: figures, records and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.errors import CorpusError, RecipeError, RunChanged
from x_instruction.evaluation.record import read_instances, read_record

FINNISH = "Sade alkoi aamulla, ja lapset juoksivat kotiin ennen kuin ukkonen saapui järven yli."
ENGLISH = "The rain began in the morning, and the children ran home before the storm."


def rows(path: Path, table: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three questions; one system answers two in Finnish, another none."""
    asked = [{"question_id": n, "text": f"Why? {n}", "category": "", "language": "en"} for n in range(3)]
    rows(tmp_path / "fi" / "question.jsonl", asked)
    for system, texts in (("good", [FINNISH, FINNISH, ENGLISH]), ("bad", [ENGLISH, "", ENGLISH])):
        answers = [{"question_id": n, "category": "", "output": text} for n, text in enumerate(texts)]
        rows(tmp_path / "fi" / f"answer.fi.{system}.eval.jsonl", answers)
    return tmp_path


def invoke(folder: Path, *arguments: object) -> Any:
    return CliRunner().invoke(cli, ["eval", "language", str(folder), *map(str, arguments)])


def test_shares_and_reasons_are_reported_and_recorded(folder: Path, tiny_model: Path) -> None:
    done = invoke(folder, "--json", "--fluency", tiny_model)
    assert done.exit_code == 0, done.exception
    found = {row["system"]: row for row in json.loads(done.stdout)}
    assert found["good"]["right"] == pytest.approx(2 / 3)
    assert (found["bad"]["right"], found["bad"]["reasons"]) == (0.0, {"wrong_language": 2, "empty": 1})
    # Fluency is of answers in the right language only.
    assert found["good"]["fluency"] > 0
    assert found["bad"]["fluency"] is None
    record = read_record(folder / "language-good.json")
    metrics = {metric.name: metric for metric in record.metrics}
    assert set(metrics) == {"right_language", "script_share", "switched", "fluency"}
    assert metrics["right_language"].value == pytest.approx(2 / 3)
    assert (metrics["fluency"].n, metrics["fluency"].higher_is_better) == (2, False)
    samples = {sample.id: sample for sample in read_instances(record)}
    assert [samples[f"{n}/1"].correct for n in range(3)] == [True, True, False]
    assert samples["2/1"].details["identified"] == "en"
    assert not read_record(folder / "language-bad.json").metrics[0].value


def test_a_failed_request_is_not_an_answer(folder: Path) -> None:
    file = folder / "fi" / "answer.fi.good.eval.jsonl"
    lines = file.read_text("utf-8").splitlines()
    failed = json.loads(lines[2]) | {"output": "", "error": "engine_refused: no"}
    file.write_text("\n".join([*lines[:2], json.dumps(failed)]) + "\n", "utf-8")
    found = {row["system"]: row for row in json.loads(invoke(folder, "--json").stdout)}
    assert (found["good"]["answers"], found["good"]["failed"], found["good"]["right"]) == (2, 1, 1.0)


def test_changed_answers_are_not_overwritten(folder: Path) -> None:
    assert invoke(folder).exit_code == 0
    before = (folder / "language-bad.json").read_bytes()
    file = folder / "fi" / "answer.fi.bad.eval.jsonl"
    file.write_text(file.read_text("utf-8").replace("storm", "rain"), "utf-8")
    assert isinstance(invoke(folder).exception, RunChanged)
    assert (folder / "language-bad.json").read_bytes() == before
    assert invoke(folder, "--overwrite").exit_code == 0


def test_another_language_model_of_the_same_name_is_detected(fasttext: Path, tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    rows(folder / "sw" / "question.jsonl", [{"question_id": 0, "text": "Why?", "category": "", "language": "en"}])
    rows(folder / "sw" / "answer.sw.one.eval.jsonl", [{"question_id": 0, "category": "", "output": ENGLISH}])
    assert invoke(folder, "--lid-model", fasttext).exit_code == 0
    assert invoke(folder, "--lid-model", fasttext).exit_code == 0
    fasttext.write_bytes(b"another")
    found = invoke(folder, "--lid-model", fasttext)
    assert isinstance(found.exception, RunChanged)
    assert "lid_model was" in str(found.exception)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--languages", "th"], CorpusError, "has no questions in th, only in fi"),
        (["--lid-model", "none.bin"], RecipeError, "none.bin"),
        (["--set", "threads=2"], RecipeError, "--set is for the model of --fluency"),
    ],
)
def test_bad_input_is_refused(folder: Path, arguments: list[str], error: type[Exception], message: str) -> None:
    found = invoke(folder, *arguments)
    assert isinstance(found.exception, error)
    assert message in str(found.exception)


def test_a_folder_without_answers_is_refused(tmp_path: Path) -> None:
    assert "name a folder that `x-instruction eval answers` wrote" in str(invoke(tmp_path).exception)
