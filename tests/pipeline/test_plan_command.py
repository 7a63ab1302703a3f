"""The planner: counts predicted from a smaller run, hours per machine, and the first limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Say
from engines.openai_server import OpenAIServer, write_recipe

from x_instruction.config.recipe import Recipe, load
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.planner.forecast import Forecast, Machines, equal_parts, forecast
from x_instruction.pipeline.planner.measured import Measured, measure
from x_instruction.pipeline.progress import NullProgress, duration
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

SLOW = ["--gpus", "2", "--workers", "4", "--tokens-per-second", "100,1000", "--price-per-gpu-hour", "3"]


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture(scope="module")
def recipe(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "recipe.toml", server.url)


@pytest.fixture(scope="module")
def sample(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a quarter of the passages."""
    root = tmp_path_factory.mktemp("sample") / "run"
    return execute(load(str(recipe), {"corpus.passages": 3}), root, 1, False, "curated", NullProgress())


@pytest.fixture
def figures(say: Say, recipe: Path, sample: RunFolder) -> Callable[..., dict[str, Any]]:
    """The plan as JSON."""

    def planned(*more: object) -> dict[str, Any]:
        code, out, err = say("plan", recipe, "--from", sample.root, "--json", *more)
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    return planned


def part(found: dict[str, Any], title: str, tag: str = "fi") -> dict[str, Any]:
    parts = next(stage["languages"] for stage in found["stages"] if stage["stage"] == title)
    return next(dict(part) for part in parts if part["language"] in (tag, ""))


def test_a_quarter_of_a_run_predicts_the_whole(
    figures: Callable[..., dict[str, Any]], recipe: Path, tmp_path: Path
) -> None:
    found = figures()
    made = execute(load(str(recipe)), tmp_path / "run", 1, False, "curated", NullProgress())
    assert found["passages"] == 24
    for title, stage in (("generate", StageKey("candidate")), ("refine", StageKey("rated"))):
        for tag in ("fi", "th"):
            reports = [report for report in made.reports(stage) if report.key.language == tag]
            expected = part(found, title, tag)
            assert expected["requests"] == sum(report.requests for report in reports)
            assert expected["rows"] == sum(report.kept for report in reports)
            assert expected["shards"] == len(reports) == 3
            tokens = sum(report.prompt_tokens + report.output_tokens for report in reports)
            assert expected["tokens"] == pytest.approx(tokens, rel=0.25)
    assert part(found, "diversify")["rows"] == 8
    files = [path for path in made.root.rglob("*") if path.parent.name in ("fi", "th") and path.name != "index.json"]
    # A run closes its request caches, which then are one file each.
    assert found["files"] == len(files)


def test_hours_and_cost_follow_from_the_speed_of_gpus(figures: Callable[..., dict[str, Any]]) -> None:
    found = figures("--passages", "1e6", *SLOW)
    writing, rating = (part(found, title, "th") for title in ("generate", "refine"))
    assert writing["seconds"] == pytest.approx(writing["tokens"] / 100)
    assert rating["seconds"] == pytest.approx(rating["tokens"] / 1000)
    walls = {stage["stage"]: stage["wall_seconds"] for stage in found["stages"]}
    assert found["wall_seconds"] == pytest.approx(sum(walls.values()), rel=1e-3)
    held = walls["generate"] + walls["refine"]
    assert found["gpu_hours"] == pytest.approx(2 * held / 3600)
    assert found["cost"] == pytest.approx(3 * found["gpu_hours"])
    # Twice the GPUs: half the time of the stages that need them, and the same price.
    more = figures("--passages", "1e6", *SLOW, "--gpus", "4")
    assert more["cost"] == pytest.approx(found["cost"], rel=0.01)
    assert more["gpu_hours"] == pytest.approx(found["gpu_hours"], rel=0.01)
    assert found["bottleneck"] == "generate"


def test_the_first_limits_on_the_way_to_a_billion_rows_are_named(figures: Callable[..., dict[str, Any]]) -> None:
    found = figures("--passages", "1e9", "--scale", "1000,1e6,1e9", *SLOW)
    limits = {limit["kind"]: limit for limit in found["limits"]}
    first = [limit["passages"] or 1e99 for limit in found["limits"]]
    assert first == sorted(first)
    files = limits["files"]
    assert (files["most"], files["change"], files["exceeded"]) == (100_000, "corpus.shard_size", True)
    # 14 files for each five passages: four stages, two of which have request caches.
    assert files["figure"] == pytest.approx(14 * 1e9 / 5, rel=0.01)
    # Languages with fewer pairs than diversify.embed_shards_above are not embedded by shard.
    assert files["passages"] == pytest.approx(100_000 * 5 / 11, rel=0.01)
    assert [row["passages"] for row in found["scale"]] == [1_000, 10**6, 10**9]
    assert found["scale"][0]["limits"] == []
    assert {"files", "memory", "process"} <= set(found["scale"][2]["limits"])
    # All workers embed languages of this size, and one of each selects.
    assert part(found, "embed")["shards"] == part(found, "refine")["shards"] == 10**8
    assert part(found, "diversify")["seconds"] == part(found, "diversify")["longest"]
    sampled = figures("--passages", "1e9", "--set", "diversify.selector=sampled-kmeans", *SLOW)
    assert part(sampled, "diversify")["seconds"] < part(found, "diversify")["seconds"] / 10
    # Larger shards move the limit that they are named for.
    larger = figures("--passages", "1e9", "--set", "corpus.shard_size=500000", *SLOW)
    assert not next(limit["exceeded"] for limit in larger["limits"] if limit["kind"] == "files")


def test_the_tables_fit_80_columns(say: Say, recipe: Path, sample: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = say("plan", recipe, "--from", sample.root, "--passages", "1e9", "--scale", "1e6,1e9", *SLOW)
    assert code == 0, err
    tables = out.split("note: ")[0].split("\n", 1)[1]
    assert max(map(len, tables.splitlines())) <= 80
    assert "the sample has 6 passages" in out
    assert "bottleneck: generate, limited by 2 GPUs" in out
    assert "diversify.quota is 8 pairs" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--passages", "many"], "got 'many', expected numbers from 1 to 1e12"),
        (["--passages", "1e6,1e7"], "--scale takes several"),
        (["--scale", "0"], "got '0', expected numbers from 1"),
        (["--tokens-per-second", "0"], "expected tokens per second above 0"),
        (["--tokens-per-second", "1,2,3"], "expected tokens per second above 0"),
        (["--languages", "bn"], "has no complete rated shard of bn"),
        (["--set", 'generate.model.engine="batch"', "--set", 'refine.model.engine="batch"'], "x-instruction batch"),
    ],
)
def test_bad_input_is_refused(say: Say, recipe: Path, sample: RunFolder, arguments: list[str], message: str) -> None:
    code, _, err = say("plan", recipe, "--from", sample.root, *arguments)
    assert code != 0
    assert message in " ".join(err.split())


def test_a_missing_sample_run_is_reported(say: Say, recipe: Path, tmp_path: Path) -> None:
    code, _, err = say("plan", recipe, "--out", tmp_path / "run")
    assert (code, "x-instruction preview" in err) == (1, True)
    code, _, err = say("plan", recipe, "--from", tmp_path)
    assert (code, "it has no recipe.json" in err) == (1, True)


def test_different_settings_of_the_sample_run_are_reported(figures: Callable[..., dict[str, Any]]) -> None:
    notes = figures("--set", "generate.candidates=4")["notes"]
    assert "the sample was made with other settings: generate.candidates" in notes


@pytest.fixture(scope="module")
def measured(recipe: Path, sample: RunFolder) -> Measured:
    settings = load(str(recipe))
    return measure(settings, sample, settings, {})


def planned(settings: Recipe, measured: Measured, total: int, machines: Machines) -> Forecast:
    return forecast(settings, measured, machines, equal_parts(total, settings.languages))


def test_few_shards_leave_gpus_idle(recipe: Path, measured: Measured) -> None:
    settings = load(str(recipe), {"corpus.shard_size": 1000})
    found = planned(settings, measured, 6_000, Machines(64, 64, 100.0, 100.0))
    stage = next(stage for stage in found.stages if stage.title == "generate")
    assert (stage.busy, stage.limit) == (6, "6 shards")


def test_workers_share_a_corpus_of_files(recipe: Path, measured: Measured) -> None:
    sample = load(str(recipe))
    files = sample.replace(corpus=sample.corpus.replace(source="files", paths=("pages.jsonl",)))
    for settings, titles, limit in (
        (sample, ["corpus", "generate"], "one process"),
        (files, ["corpus", "duplicates"], "8 workers"),
    ):
        found = planned(settings, measured, 10**7, Machines(0, 8))
        assert [stage.title for stage in found.stages[:2]] == titles
        assert found.stages[0].limit.startswith(limit)
    assert found.stages[1].limit == "one process for fi"


def test_rounds_and_their_trainings_are_planned_in_order(recipe: Path, measured: Measured) -> None:
    local = {"engine": "transformers", "name": "embedded"}
    settings = load(
        str(recipe),
        {
            "refine.rounds": 2,
            "refine.rater": "trained",
            "refine.train": {"epochs": 2.0},
            "seeds.paths": ["seeds.jsonl"],
            "seeds.count": 100,
            "refine.model": local,
            "generate.model": local,
        },
    )
    found = planned(settings, measured, 1_000, Machines(8, 8, 100.0, 1000.0))
    assert [stage.title for stage in found.stages] == [
        "corpus",
        *("generate", "train rater", "refine"),
        *("generate, round 1", "train rater, round 1", "refine, round 1"),
        *("generate, round 2", "train rater, round 2", "refine, round 2"),
        *("diversify", "build", "upload"),
    ]
    rows = {stage.title: stage.parts[0].rows for stage in found.stages}
    # 100 seeds of each language, in two epochs; later rounds add as many kept pairs.
    assert (rows["train rater"], rows["train rater, round 1"]) == (400, 800)
    # The server's raters keep a pair of every passage, so later rounds write nothing, and rate all again.
    assert next(stage for stage in found.stages if stage.title == "generate, round 1").seconds == 0
    assert rows["refine, round 2"] == rows["refine"] == 500


@pytest.mark.parametrize(
    ("seconds", "text"), [(12, "12s"), (200, "3m20s"), (7500, "2h05m"), (3600 * 71, "71h00m"), (3600 * 98, "4d02h")]
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert duration(seconds) == text
