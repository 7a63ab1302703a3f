"""Benchmarks with a real tiny model: equal to lm-evaluation-harness's own model, resumed, recorded and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_tasks import main as write_tasks
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.config.model import Model
from x_instruction.engines import Batch, Failed, open_engine, single_batch
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.engines.truncation import truncate_by_bytes
from x_instruction.errors import CorpusError, EngineError, NotCapable, RecipeError, RunChanged, XInstructionError
from x_instruction.evaluation.comparison import compare
from x_instruction.evaluation.record import read_instances, read_record, read_records

pytest.importorskip("lm_eval", reason="the extra evaluate is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

from x_instruction.evaluation import benchmarks  # noqa: E402
from x_instruction.evaluation.harness import EngineLM, Tasks, quiet  # noqa: E402

CAPITALS = [
    ("Suomi", "Helsinki", "Turku", "Oulu", 0),
    ("Kenia", "Mombasa", "Nairobi", "Kisumu", 1),
    ("Thai", "Phuket", "Pattaya", "Bangkok", 2),
    ("Intia", "Delhi", "Mumbai", "Chennai", 0),
    ("Turkki", "Istanbul", "Ankara", "Izmir", 1),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files: a choice in two languages with two prompts, whole texts without a context, and written answers."""
    made = tmp_path_factory.mktemp("tasks")
    keys = ("country", "a", "b", "c", "label")
    lines = "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in CAPITALS)
    for tag in ("fi", "sw"):
        (made / f"{tag}.jsonl").write_text(lines, "utf-8")
    named = [f"{tag}={made / tag}.jsonl" for tag in ("fi", "sw")]
    more = ["--examples", *named, "--choices", "{{[a, b, c]}}", "--answer", "label", "--out", str(made)]
    write_tasks(["capitals", *named, *more, "--prompt", "{{country}}:\\n\\n", "--prompt", "Capital of {{country}}?"])
    whole = "{{[country + a, country + b, country + c]}}"
    write_tasks(
        [
            "whole",
            named[0],
            "--choices",
            whole,
            "--answer",
            "label",
            "--delimiter",
            "",
            "--prompt",
            "",
            "--out",
            str(made),
        ]
    )
    task = json.loads(json.dumps({"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": named[0][3:]}}}))
    task |= {"task": "written_fi", "output_type": "generate_until", "test_split": "test"}
    task |= {"doc_to_text": "{{country}}", "doc_to_target": "{{a}}", "generation_kwargs": {"max_gen_toks": 4}}
    task |= {"metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]}
    (made / "written_fi.yaml").write_text(json.dumps(task), "utf-8")
    exact = task | {"task": "exact_fi", "output_type": "loglikelihood", "doc_to_target": " {{a}}"}
    exact |= {"metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]}
    (made / "exact_fi.yaml").write_text(json.dumps(exact), "utf-8")
    filters = [
        {"name": name, "filter": [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}]}
        for name, pattern in (("all", "(.*)"), ("first", "^(.)"))
    ]
    (made / "filtered_fi.yaml").write_text(json.dumps(task | {"task": "filtered_fi", "filter_list": filters}), "utf-8")
    choice = json.loads(json.dumps(yaml.safe_load((made / "capitals_fi_prompt_2.yaml").read_text("utf-8"))))
    for name, changes in {
        "same_fi": {"doc_to_target": 0},
        "same_sw": {"doc_to_target": 0},
        "several_fi": {"doc_to_target": "{{[0, label]}}"},
        "several_sw": {"doc_to_target": "{{[0, label]}}"},
        "zero_fi": {"num_fewshot": 0},
        "mutual_fi": {"metric_list": [{"metric": "acc"}, {"metric": "acc_mutual_info"}]},
    }.items():
        (made / f"{name}.yaml").write_text(json.dumps(choice | changes | {"task": name}), "utf-8")
    lost = (made / "whole_fi.yaml").read_text("utf-8").replace("whole_fi", "lost").replace("fi.jsonl", "gone.jsonl")
    (made / "lost.yaml").write_text(lost, "utf-8")
    return made


@pytest.fixture(scope="module")
def tasks(folder: Path) -> Tasks:
    return Tasks([folder], defaults=False)


@pytest.fixture(autouse=True)
def own_tasks_only(monkeypatch: pytest.MonkeyPatch, tasks: Tasks) -> None:
    """Reading the 13,000 task files of lm-evaluation-harness takes seconds."""
    monkeypatch.setattr(benchmarks, "Tasks", lambda include: tasks if include else Tasks([], defaults=False))


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TransformersEngine:
    return TransformersEngine(Model(name=str(tiny_model), batch_size=4))


@pytest.fixture
def cache(engine: TransformersEngine) -> Iterator[RequestCache]:
    with RequestCache(Path(":memory:"), engine, {}) as made:
        yield made


@pytest.mark.parametrize(
    ("task", "shots"),
    [
        *(("capitals_fi_prompt_1", 0), ("capitals_fi_prompt_2", 0), ("capitals_sw_prompt_2", 3)),
        *(("whole_fi", 0), ("written_fi", 0), ("exact_fi", 0)),
    ],
)
def test_results_equal_those_of_the_harness_model(
    tasks: Tasks, tiny_model: Path, cache: RequestCache, task: str, shots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.huggingface import HFLM

    ours = tasks.run(task, cache.ask, shots, None)
    with quiet():
        model = HFLM(str(tiny_model), device="cpu", dtype="float32", batch_size=4)
    monkeypatch.setattr("x_instruction.evaluation.harness.EngineLM", lambda ask, exact: model)
    theirs = tasks.run(task, cache.ask, shots, None)
    assert ours.figures == theirs.figures
    assert len(ours.samples) == 5
    for a, b in zip(ours.samples, theirs.samples, strict=True):
        assert a["arguments"] == b["arguments"]
        if ours.written:
            assert a["filtered_resps"] == b["filtered_resps"]
        else:
            found, expected = ([response[0] for response in each["filtered_resps"]] for each in (a, b))
            assert found == pytest.approx(expected, abs=1e-3)
    if task == "exact_fi":
        assert [a["acc"] for a in ours.samples] == [b["acc"] for b in theirs.samples]


def test_the_greedy_text_is_marked_as_greedy(tasks: Tasks, engine: TransformersEngine, cache: RequestCache) -> None:
    from lm_eval.api.instance import Instance

    from x_instruction.engines import Completed, Completion

    (written,) = cache.ask([Completion("Suomi", 3)])
    assert isinstance(written, Completed)
    asked = [
        Instance("loglikelihood", {}, ("Suomi", text), 0, metadata=("exact", 0, 1)) for text in (written.text, " Turku")
    ]
    assert [greedy for _, greedy in EngineLM(cache.ask, {"exact"}).loglikelihood(asked)] == [True, False]


def test_the_likelihood_of_a_whole_text_equals_that_of_the_harness(cache: RequestCache, tiny_model: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    asked = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in ("Järvi ja sauna.", "Nairobi")]
    with quiet():
        expected = HFLM(str(tiny_model), device="cpu", dtype="float32").loglikelihood_rolling(asked)
    assert EngineLM(cache.ask).loglikelihood_rolling(asked) == pytest.approx(expected, abs=1e-3)


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["eval", "benchmarks", *map(str, arguments)], catch_exceptions=True)


def evaluate(model: Path, folder: Path, out: Path, *more: str) -> list[dict[str, Any]]:
    found = invoke(
        model, "--tasks", "capitals", "--languages", "fi,sw", "--include", folder, "--out", out, "--json", *more
    )
    assert found.exit_code == 0, (found.output, found.exception)
    rows: list[dict[str, Any]] = json.loads(found.stdout)
    return rows


def test_one_record_has_metrics_samples_and_agreement(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    rows = evaluate(tiny_model, folder, tmp_path, "--shots", "0,2", "--limit", "4")
    assert {row["shots"] for row in rows} == {0, 2}
    accuracies = [row for row in rows if row["metric"] == "acc"]
    assert len(accuracies) == 2 * 2 * 2  # shots, languages, prompts
    for row in accuracies:
        assert row["items"] == 4
        assert row["low"] <= row["value"] <= row["high"]
    # Both languages have the same items and texts, so all answers agree.
    consistency = {row["shots"]: row["value"] for row in rows if row["metric"] == "consistency_2"}
    assert consistency == {0: 1.0, 2: 1.0}
    record = read_record(tmp_path / "benchmarks.json")
    assert [metric.value for metric in record.metrics] == [row["value"] for row in rows]
    samples = list(read_instances(record))
    first = next(sample for sample in samples if sample.id == "capitals_fi_prompt_1/1")
    assert first.references == ("\n\n Nairobi",) or first.references == (" Nairobi",)
    assert len(first.choices) == 3
    assert first.extracted in first.choices
    of_metric = [s for s in samples if s.metric == record.metrics[0].id]
    assert record.metrics[0].value == pytest.approx(sum(s.score for s in of_metric) / 4)
    # A model compared with itself: paired by item, no difference.
    pairs = compare(read_records(tmp_path), read_records(tmp_path))
    assert {pair.pairs for pair in pairs if pair.a.name == "acc"} == {4}
    assert {pair.difference for pair in pairs} == {0.0}


class Stopping:
    """An engine that stops after some requests, as if it were killed."""

    capabilities = frozenset({"complete", "score", "choose"})
    model, revision, chat = "stopping", "1", False
    truncate = staticmethod(truncate_by_bytes)

    def __init__(self, inner: TransformersEngine, stop: int) -> None:
        self.inner, self.stop, self.asked = inner, stop, 0

    def plan(self, requests: Any) -> list[Batch]:
        return self.inner.plan(requests)

    def answer(self, requests: Any, shared: int = 0, should_continue: Any = None) -> Iterator[Any]:
        if self.asked + len(requests) > self.stop:
            raise EngineError("killed")
        self.asked += len(requests)
        yield from self.inner.answer(requests, shared)


def test_answered_requests_are_not_sent_again(
    tiny_model: Path, folder: Path, tmp_path: Path, engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (Model(name=str(tiny_model)), ["capitals"], ["fi", "sw"], [0], None, [folder], tmp_path)
    asked = 0
    for stop in (10, 12, 1_000):
        stopping = Stopping(engine, stop)
        monkeypatch.setattr(benchmarks, "open_engine", lambda model, engine=stopping: engine)
        if stop < 1_000:
            with pytest.raises(EngineError, match="killed"):
                benchmarks.run(*arguments)
            assert not (tmp_path / "benchmarks.json").exists()
        else:
            benchmarks.run(*arguments)
        asked += stopping.asked
    # Two prompts of five items with three choices; both languages have the same texts.
    assert asked == 2 * 5 * 3
    again = Stopping(engine, 0)
    monkeypatch.setattr(benchmarks, "open_engine", lambda model: again)
    benchmarks.run(*arguments)
    assert again.asked == 0


def test_results_of_other_settings_are_not_overwritten(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    evaluate(tiny_model, folder, tmp_path, "--limit", "2")
    before = (tmp_path / "benchmarks.json").read_bytes()
    refused = invoke(
        *(tiny_model, "--tasks", "capitals", "--languages", "fi", "--include", folder, "--out", tmp_path, "--limit", 3)
    )
    assert isinstance(refused.exception, RunChanged)
    assert (tmp_path / "benchmarks.json").read_bytes() == before
    evaluate(tiny_model, folder, tmp_path, "--limit", "3", "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--tasks", "capitols"], RecipeError, "unknown task 'capitols'"),
        (["--tasks", "capitals", "--languages", "fi,th"], RecipeError, "capitals has no task in th: leave these"),
        (["--tasks", "capitals", "--languages", "xx"], RecipeError, "unknown language 'xx'"),
        (["--tasks", "capitals", "--shots", "few"], RecipeError, "--shots is 'few', expected numbers such as 0,5"),
        (
            ["--tasks", "capitals", "--languages", "fi", "--set", "engine=batch"],
            RecipeError,
            "expected an engine that answers at once",
        ),
        (["--tasks", "zero_fi", "--shots", "0,2"], RecipeError, "task zero_fi is for 0 shots only"),
        (["--tasks", "lost"], CorpusError, "cannot load the data of task lost"),
    ],
)
def test_bad_input_is_refused(
    tiny_model: Path, folder: Path, tmp_path: Path, arguments: list[str], error: type[XInstructionError], message: str
) -> None:
    found = invoke(tiny_model, "--include", folder, "--out", tmp_path / "out", *arguments)
    assert isinstance(found.exception, error), found.exception
    assert message in str(found.exception)
    assert not (tmp_path / "out" / "benchmarks.json").exists()


def run_tasks(model: Path, folder: Path, out: Path, *names: str, limit: int | None = None) -> tuple[Any, list[str]]:
    messages: list[str] = []
    metrics = benchmarks.run(Model(name=str(model)), names, [], [0], limit, [folder], out, log=messages.append)
    return {metric.id: metric for metric in metrics}, messages


def test_agreement_is_skipped_for_different_items(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    metrics, messages = run_tasks(tiny_model, folder, tmp_path, "same_fi", "same_sw", "several_fi", "several_sw")
    assert not [id for id in metrics if "consistency" in id and "same" in id]
    assert "same, 0 shots: no agreement over languages, because all right answers are equal" in "\n".join(messages)
    # Right answers that are lists are compared, too.
    assert metrics["several/all/consistency_2/shots=0"].value == 1.0


def test_every_filter_has_a_metric(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    metrics, _ = run_tasks(tiny_model, folder, tmp_path, "filtered_fi")
    assert set(metrics) == {f"filtered/fi/exact_match/filter={name}/shots=0" for name in ("all", "first")}


def test_mutual_information_is_not_recorded_as_a_choice(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    run_tasks(tiny_model, folder, tmp_path / "a", "mutual_fi", "capitals_fi_prompt_2")
    samples = list(read_instances(read_record(tmp_path / "a" / "benchmarks.json")))
    assert {len(sample.choices) for sample in samples} == {3}
    for sample in samples:
        assert sample.extracted in sample.choices
        # Each metric names the choice that it counts; mutual information is not shown as a choice.
        if not sample.metric.startswith("mutual/fi/acc_mutual_info"):
            assert (sample.extracted == sample.references[0]) == sample.correct, sample


def test_changed_data_changes_the_settings(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "items.jsonl"
    data.write_text((folder / "fi.jsonl").read_text("utf-8"), "utf-8")
    tasks = tmp_path / "tasks"
    write_tasks(
        [
            "mine",
            f"fi={data}",
            "--choices",
            "{{[a, b, c]}}",
            "--answer",
            "label",
            "--prompt",
            "{{country}}",
            "--out",
            str(tasks),
        ]
    )
    before = Tasks([tasks], defaults=False).fingerprint("mine_fi")
    assert Tasks([tasks], defaults=False).fingerprint("mine_fi") == before
    data.write_text(data.read_text("utf-8").replace("Nairobi", "Kisumu"), "utf-8")
    assert Tasks([tasks], defaults=False).fingerprint("mine_fi") != before


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--include .*nowhere is not a folder"):
        Tasks([tmp_path / "nowhere"], defaults=False)


class Refusing:
    """A server that cannot score a text without a context."""

    model, revision, chat = "refusing", "1", False
    capabilities = frozenset({"score"})
    truncate = staticmethod(truncate_by_bytes)

    def plan(self, requests: Any) -> list[Batch]:
        return single_batch(requests)

    def answer(self, requests: Any, shared: int = 0, should_continue: Any = None) -> Iterator[Any]:
        yield from enumerate([Failed("engine_bad_answer", "no log-probability")] * len(requests))


def test_an_unreachable_server_is_reported(tasks: Tasks) -> None:
    with RequestCache(Path(":memory:"), Refusing(), {}) as made:
        with pytest.raises(EngineError, match="the task scores whole texts, which few servers can"):
            tasks.run("whole_fi", made.ask, 0, 1)
        with pytest.raises(EngineError, match=r"did not answer a request of a benchmark \(engine_bad_answer"):
            tasks.run("capitals_fi_prompt_1", made.ask, 0, 1)


def test_list_shows_the_available_tasks(folder: Path) -> None:
    found = invoke("--list", "--include", folder, "--languages", "sw,fi", "--json")
    assert found.exit_code == 0, found.exception
    rows = json.loads(found.stdout)
    assert {row["benchmark"]: row["origin"] for row in rows}["multiblimp"] == "native"


def test_a_model_that_cannot_score_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Refusing()
    writer.capabilities = frozenset({"complete"})
    monkeypatch.setattr(benchmarks, "open_engine", lambda model: writer)
    model = Model(name="writer", engine="openai")
    with pytest.raises(
        NotCapable, match="task capitals_fi_prompt_1 needs a model that can score, and the engine of wri"
    ):
        benchmarks.run(model, ["capitals"], ["fi"], [0], 1, [folder], tmp_path)


def test_a_model_is_required() -> None:
    assert "no model is named" in str(invoke("--tasks", "xcopa").exception)


def test_the_engine_of_a_recipe_runs_a_task(tiny_model: Path, tasks: Tasks) -> None:
    engine = open_engine(Model(name=str(tiny_model)))
    with RequestCache(Path(":memory:"), engine, {}) as made:
        assert 0 <= tasks.run("capitals_fi_prompt_2", made.ask, 0, 2).figures["acc", "none"] <= 1
