"""Records of evaluations: valid by the schema, read back as written, and never overwritten silently."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from x_instruction.config.model import Model
from x_instruction.errors import CorpusError, RecipeError, RunChanged
from x_instruction.evaluation import record
from x_instruction.evaluation.metric import Data, Instance, Judging, Metric, ModelInfo
from x_instruction.evaluation.models import model_info
from x_instruction.evaluation.record import check_target, read_instances, read_record, read_records, write_record

MODEL = ModelInfo(
    name="org/model",
    revision="0123abc",
    engine="transformers",
    engine_version="5.23.0",
    deployment="self_deployed",
    availability="open_weights",
)
BELEBELE = Data(name="facebook/belebele", revision="v1", config="swh_Latn", split="test", on_hub=True)
ACCURACY = Metric(
    task="belebele",
    name="accuracy",
    value=0.5,
    low=0.1,
    high=0.9,
    n=2,
    data=BELEBELE,
    language="sw",
    parameters={"shots": 5},
)
WINS = Metric(
    task="judge",
    name="win_rate",
    value=0.25,
    n=2,
    data=Data(name="my questions", split="test"),
    notes="both orders",
    judging=Judging(judge=ModelInfo(name="org/judge"), prompt="Which is better?", temperature=0.0),
)
BITS = Metric(
    task="held-out",
    name="bits_per_byte",
    value=1.5,
    low=float("nan"),
    high=float("nan"),
    n=2,
    data=Data(name="demo"),
    higher_is_better=False,
    maximum=None,
    unit="bits per byte",
)
SAMPLES = [
    Instance(
        metric=ACCURACY.id,
        id="1",
        input="ሰላም \ud800?",
        score=1.0,
        correct=True,
        references=("B",),
        choices=("A", "B"),
        outputs=("B",),
        extracted="B",
        method="regex",
        details={"language": "sw"},
    ),
    Instance(metric=ACCURACY.id, id="2", input="Why?", score=0.0, correct=False, error="no answer"),
]
SETTINGS = {"tasks": ["belebele"], "shots": {"count": 5}}
WHEN = datetime.datetime(2026, 11, 27, 10, 30, tzinfo=datetime.UTC)
SCHEMAS = Path(record.__file__).parent / "schemas"


def write(folder: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "model": MODEL,
        "metrics": [ACCURACY, WINS, BITS],
        "instances": SAMPLES,
        "settings": SETTINGS,
        "when": WHEN,
        "generation": {"max_tokens": 16, "temperature": 0},
    }
    return write_record(folder, "results", **values | changes)


def valid(schema: str, value: Any) -> None:
    jsonschema.Draft7Validator(json.loads((SCHEMAS / schema).read_text("utf-8"))).validate(value)


def test_records_are_valid_and_read_back_as_written(tmp_path: Path) -> None:
    path = write(tmp_path)
    document = json.loads(path.read_text("utf-8"))
    valid("eval.schema.json", document)
    lines = (tmp_path / "results_samples.jsonl").read_text("utf-8").splitlines()
    for line in lines:
        valid("instance_level_eval.schema.json", json.loads(line))
        assert json.loads(line)["evaluation_id"] == document["evaluation_id"] == "results/org/model/1795775400"
    assert document["detailed_evaluation_results"]["total_rows"] == len(lines) == 2
    read = read_record(path)
    assert (read.model, read.settings, read.date) == (MODEL, SETTINGS, "2026-11-27")
    assert read.metrics[:2] == (ACCURACY, dataclasses.replace(WINS, interval_method=""))
    assert (read.metrics[2].interval, read.metrics[2].maximum, read.metrics[2].higher_is_better) == (None, None, False)
    kept = [dataclasses.replace(SAMPLES[0], input="ሰላም \ufffd?"), SAMPLES[1]]
    assert list(read_instances(read)) == kept
    assert [found.path for found in read_records(tmp_path)] == [path]


def test_a_record_without_instances_has_no_file_of_them(tmp_path: Path) -> None:
    path = write(tmp_path, instances=[])
    assert [found.name for found in tmp_path.iterdir()] == ["results.json"]
    assert list(read_instances(read_record(path))) == []


@pytest.mark.parametrize(
    ("library", "settings"),
    [("lm_eval", "temperature=0"), ("lm_eval", "[1]"), ("lm_eval", '{"a": 1}'), ("x_instruction", "{")],
)
def test_settings_of_another_tool_are_not_read(library: str, settings: str, tmp_path: Path) -> None:
    path = write(tmp_path, instances=[])
    document = json.loads(path.read_text("utf-8"))
    document["eval_library"] |= {"name": library, "additional_details": {"settings": settings}}
    path.write_text(json.dumps(document), "utf-8")
    assert read_record(path).settings == {}
    with pytest.raises(RunChanged):
        check_target(tmp_path, "results", MODEL, SETTINGS, overwrite=False)


def test_ids_identify_metrics_and_not_models() -> None:
    assert ACCURACY.id == "belebele/sw/accuracy/shots=5"
    assert WINS.id == "judge/all/win_rate"


def test_results_of_other_settings_are_not_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = path.read_bytes()
    with pytest.raises(RunChanged, match=r"shots.count was 5, is 0\): pass overwrite=True"):
        write(tmp_path, settings={"tasks": ["belebele"], "shots": {"count": 0}})
    with pytest.raises(RunChanged, match=r"model\.name was org/model, is org/other"):
        check_target(tmp_path, "results", dataclasses.replace(MODEL, name="org/other"), SETTINGS)
    assert path.read_bytes() == before
    write(tmp_path, settings={}, overwrite=True)
    assert read_record(path).settings == {}
    # The same settings are the same results: a rerun replaces them.
    assert check_target(tmp_path, "results", MODEL, {}) == path


def test_a_failure_keeps_existing_results(tmp_path: Path) -> None:
    path = write(tmp_path)

    def broken() -> Any:
        yield SAMPLES[0]
        raise OSError("the model is gone")

    with pytest.raises(Exception, match="gone"):
        write(tmp_path, instances=broken())
    assert list(read_instances(read_record(path)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": [ACCURACY, ACCURACY]}, "two metrics are belebele/sw/accuracy/shots=5"),
        ({"metrics": [dataclasses.replace(ACCURACY, value=float("nan"))]}, "is nan, expected a number"),
        (
            {"metrics": [dataclasses.replace(ACCURACY, data=Data(name="mine", benchmark_task="t"))]},
            "has the benchmark task 't' of 'mine', expected data on the Hub",
        ),
        ({"metrics": [WINS]}, "instance 1 is of 'belebele/sw/accuracy/shots=5', expected one of judge/all/win_rate"),
        ({"model": dataclasses.replace(MODEL, deployment="mine")}, "deployment_type must be one of"),
    ],
)
def test_invalid_records_are_not_written(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((RecipeError, CorpusError), match=message):
        write(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.update(schema_version="0.2.2"), "has schema_version '0.2.2', expected '0.3.0'"),
        (lambda table: table.pop("schema_version"), "is not a record of an evaluation"),
        (lambda table: table.pop("model_info"), r"must contain .*'model_info'"),
        (lambda table: table["evaluation_results"][0]["score_details"].update(score="good"), "score must be number"),
        (lambda table: table.update(more=1), "must not contain {'more'} properties"),
    ],
)
def test_other_files_are_refused_with_the_reason(change: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    table = json.loads(path.read_text("utf-8"))
    change(table)
    path.write_text(json.dumps(table), "utf-8")
    with pytest.raises(CorpusError, match=message):
        read_record(path)
    before = path.read_bytes()
    with pytest.raises(CorpusError):
        write(tmp_path, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_file_that_is_not_a_json_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text, "utf-8")
    with pytest.raises(CorpusError, match=r"results\.json"):
        read_record(tmp_path / "results.json")
    with pytest.raises(CorpusError, match="has no record of an evaluation"):
        read_records(tmp_path)


def test_instances_of_another_record_are_refused(tmp_path: Path) -> None:
    read = read_record(write(tmp_path))
    samples = tmp_path / "results_samples.jsonl"
    with samples.open("a", encoding="utf-8") as stream:
        stream.write("{}\n")
    with pytest.raises(CorpusError, match=r"is not the file that was written with results\.json"):
        list(read_instances(read))
    samples.unlink()
    with pytest.raises(CorpusError, match="copy it beside the record"):
        list(read_instances(read))


def test_a_model_is_identified_by_content_and_not_by_path(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    found = model_info(Model(name=str(folder)))
    assert (found.name, found.engine, found.deployment) == ("my-model", "transformers", "self_deployed")
    assert found.revision.startswith("sha256:")
    assert str(tmp_path) not in str(found)
    assert model_info(Model(name="gpt", engine="openai")) == ModelInfo(name="gpt", engine="openai")
