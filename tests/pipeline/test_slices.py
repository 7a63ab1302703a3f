"""The corpus of one language, made by several workers: equal bytes, kills, limits, ranks and temporary files."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import factories
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.config.recipe import Recipe
from x_instruction.corpus.stage import passages
from x_instruction.errors import ShardsMissing, ShardsSetAside
from x_instruction.languages import language
from x_instruction.pipeline.activity import Activity
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.snapshot import Snapshot
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.records import Dropped
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import PASSAGE, SLICE

Make = Callable[..., Recipe]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """50 pages, some of which occur again, as they are or changed a little, in another part of the corpus."""
    file = resources.files("x_instruction.corpus.sample").joinpath("sw.jsonl")
    lines = file.read_text("utf-8").splitlines()
    sentences = [part for line in lines for part in json.loads(line)["text"].replace("\n", " ").split(". ") if part]
    rng = random.Random(1)
    pages = [". ".join(rng.sample(sentences, 8)) + "." for _ in range(50)]
    return [*pages[:30], *(f"{text} Mwisho wa habari." for text in pages[:15]), "Fupi.", *pages[10:25], *pages[30:]]


@pytest.fixture
def recipe(texts: list[str], tmp_path: Path) -> Make:
    """A recipe of one language whose corpus of one file is read in slices of ten rows."""
    path = tmp_path / "sw.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))

    def make(**corpus: Any) -> Recipe:
        table = {"source": "files", "paths": (str(path),), "slice_rows": 10, "shard_size": 5, **corpus}
        # Every process would load an identifier.
        table["filters"] = Filters(language_check=False)
        return factories.settings(("sw",)).replace(corpus=Corpus(**table))

    return make


def go(recipe: Recipe, root: Path, workers: int = 1, progress: NullProgress | None = None, **rank: int) -> RunFolder:
    return execute(recipe, root, workers, False, "passage", progress or NullProgress(), **rank)


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "passage" / "sw").iterdir() if "report" not in path.name}


def alone(recipe: Recipe, root: Path) -> dict[str, bytes]:
    """The result of one task for the whole corpus."""
    run = RunFolder(root)
    key = PASSAGE.shard("sw")
    Worker(run, recipe).make(ShardTask(key, Snapshot(run, recipe).settings(key)), lambda activity: None)
    return contents(root)


def leaves_nothing(root: Path) -> bool:
    return not [path for name in (".screened", "scratch") for path in (root / name).rglob("*") if path.is_file()]


@pytest.mark.parametrize(("limit", "workers"), [(None, 1), (12, 1), (20, 1), (500, 1), (None, 2), (20, 2)])
def test_slices_make_the_bytes_of_one_task(recipe: Make, tmp_path: Path, limit: int | None, workers: int) -> None:
    settings = recipe(**({"passages": limit} if limit else {}))
    expected = alone(settings, tmp_path / "alone")
    run = go(settings, tmp_path / "run", workers)
    assert contents(tmp_path / "run") == expected
    assert leaves_nothing(tmp_path / "run")
    reports = [run.report(key).settings for key in run.shards(PASSAGE, "sw")]
    assert len(reports) > 1
    assert reports == [RunFolder(tmp_path / "alone").report(key).settings for key in run.shards(PASSAGE, "sw")]


def test_duplicates_across_shards_are_found_as_by_one_task(recipe: Make, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "sw.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts * 2))
    settings = recipe(shard_size=2)
    run = go(settings, tmp_path / "run")
    keys = run.shards(PASSAGE, "sw")
    assert len(keys) >= 20
    found = [record for key in keys for record in (*run.read(key), *run.dropped(key))]
    expected = list(passages(settings.corpus, language("sw"), tmp_path / "scratch"))
    assert sorted(map(str, found)) == sorted(map(str, expected))
    reasons = [record.reason for record in found if isinstance(record, Dropped)]
    assert reasons.count("exact_duplicate") >= len(texts)
    assert reasons.count("near_duplicate") >= 10


def test_a_limit_makes_no_more_slices_than_it_needs(
    recipe: Make, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("x_instruction.pipeline.slices.ENOUGH", 10)
    (tmp_path / "sw.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts * 20))
    run, settings = RunFolder(tmp_path / "run"), recipe(passages=21)
    made: list[int] = []
    while (tasks := Plan(run, settings).tasks(PASSAGE))[0].key.stage_key == SLICE:
        for task in tasks:
            made.append(task.key.index)
            Worker(run, settings).make(task, lambda activity: None)
    assert made == [0, 1, 2]
    Worker(run, settings).make(tasks[0], lambda activity: None)
    assert contents(tmp_path / "run") == alone(settings, tmp_path / "alone")


def test_a_single_slice_makes_no_extra_files(recipe: Make, tmp_path: Path) -> None:
    for corpus in ({"slice_rows": 1_000}, {"documents": 10}, {"passages": 10}):
        go(recipe(**corpus), tmp_path / str(corpus))
        assert not (tmp_path / str(corpus) / ".screened").exists()


def test_finished_slices_are_not_repeated(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, root = recipe(), tmp_path / "run"
    made: list[ShardTask] = []
    make = Worker.make

    def fails_once(worker: Worker, task: ShardTask, on_activity: Any) -> Any:
        if len(made) == 4:
            monkeypatch.setattr(Worker, "make", counted)
            raise KeyboardInterrupt
        return counted(worker, task, on_activity)

    def counted(worker: Worker, task: ShardTask, on_activity: Any) -> Any:
        made.append(task)
        return make(worker, task, on_activity)

    monkeypatch.setattr(Worker, "make", fails_once)
    with pytest.raises(KeyboardInterrupt):
        go(settings, root)
    go(settings, root)
    assert len(made) == len({task.key for task in made}) == 1 + len(made[:-1])
    assert made[-1].key == PASSAGE.shard("sw")
    assert contents(root) == alone(settings, tmp_path / "alone")


def test_slices_of_other_settings_are_replaced(recipe: Make, tmp_path: Path) -> None:
    root = tmp_path / "run"
    run = RunFolder(root)
    for task in Plan(run, recipe(license="CC0")).tasks(PASSAGE)[:3]:
        Worker(run, recipe(license="CC0")).make(task, lambda activity: None)
    changed = recipe(license="CC BY 4.0")
    # Also where one task makes the passages without slices.
    assert alone(changed, root) == alone(changed, tmp_path / "alone")
    run.clear(PASSAGE, "sw")
    go(changed, root)
    assert contents(root) == contents(tmp_path / "alone")


class Killing(NullProgress):
    """Kills the worker that makes slice 1, so many times."""

    def __init__(self, root: Path, times: int) -> None:
        self.folder = root / ".screened" / "sw"
        self.times = times
        self.killed: set[int] = set()

    def update(self, task: ShardTask, activity: Activity) -> None:
        for child in multiprocessing.active_children():
            if (
                len(self.killed) < self.times
                and child.pid
                and task.key == SLICE.shard("sw", 1)
                and self.makes(child.pid)
            ):
                os.kill(child.pid, signal.SIGKILL)
                self.killed.add(child.pid)

    def makes(self, process: int) -> bool:
        """Whether a process has a file of the slice open."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            files = {os.path.realpath(file) for file in Path(f"/proc/{process}/fd").iterdir()}
            return any(file.startswith(f"{self.folder.resolve()}/.00001.") for file in files)
        return False


@pytest.fixture
def slow(recipe: Make, texts: list[str], tmp_path: Path) -> Recipe:
    """A recipe in whose slice 1 a worker is busy for a second after it says so."""
    pages = [*texts[:30], *("\n\n".join(texts[n : n + 4] * 4) for n in range(30)), *texts[30:70]]
    (tmp_path / "sw.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in pages))
    return recipe(slice_rows=30)


def test_a_worker_that_is_killed_in_a_slice_changes_nothing(slow: Recipe, tmp_path: Path) -> None:
    progress = Killing(tmp_path / "run", 2)
    go(slow, tmp_path / "run", 2, progress)
    assert len(progress.killed) == 2
    assert contents(tmp_path / "run") == alone(slow, tmp_path / "alone")
    assert leaves_nothing(tmp_path / "run")


def test_a_slice_that_crashes_every_worker_is_set_aside(slow: Recipe, tmp_path: Path) -> None:
    root = tmp_path / "run"
    with pytest.raises(ShardsSetAside, match=r"1 shard was set aside \(\.screened/sw/00001: 3 workers died of it"):
        go(slow, root, 2, Killing(root, 99))
    run = RunFolder(root)
    assert run.count(PASSAGE, "sw") is None
    assert run.failure(SLICE.shard("sw", 1))
    assert run.complete(SLICE.shard("sw", 2))
    go(slow, root, 2)
    assert contents(root) == alone(slow, tmp_path / "alone")
    assert leaves_nothing(root)


def test_slices_work_in_an_object_store(recipe: Make, tmp_path: Path) -> None:
    settings, location = recipe(), f"memory://{tmp_path.name}"
    run = execute(settings, location, 1, False, "passage", NullProgress())
    alone(settings, tmp_path / "alone")
    expected = list(RunFolder(tmp_path / "alone").reports(PASSAGE))
    found = list(run.reports(PASSAGE))
    assert [report.digest for report in found] == [report.digest for report in expected]
    assert len(found) > 1
    assert [name for name in MemoryFileSystem().find(location) if ".screened" in name] == []


def test_ranks_share_the_slices_of_a_language(recipe: Make, tmp_path: Path) -> None:
    settings, root = recipe(), tmp_path / "run"
    with pytest.raises(ShardsMissing, match=r"rank 1 of 2 made all that it can, and needs \.screened/sw/00000"):
        go(settings, root, rank=1, of=2)
    run = RunFolder(root)
    assert [run.complete(SLICE.shard("sw", index)) for index in range(4)] == [False, True, False, True]
    go(settings, root, rank=0, of=2)
    go(settings, root, rank=1, of=2)
    assert contents(root) == alone(settings, tmp_path / "alone")
    assert leaves_nothing(root)
