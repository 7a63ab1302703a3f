"""The progress display of workers."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from x_instruction.pipeline.activity import Activity
from x_instruction.pipeline.progress import LogProgress
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.shard_key import PASSAGE, StageKey

CANDIDATE = StageKey("candidate")


@pytest.fixture
def progress() -> LogProgress:
    shown = LogProgress(io.StringIO())
    shown.stage("generate", 2_000)
    return shown


def task(language: str, index: int, stage: StageKey = CANDIDATE) -> ShardTask:
    return ShardTask(stage.shard(language, index), {})


def test_each_worker_is_shown_where_there_are_several(progress: LogProgress) -> None:
    count = progress.count
    assert count is not None
    progress.update(task("fi", 2), Activity(120, 400))
    assert count.workers() == [], "one worker is shown in the line of the stage"
    progress.update(task("th", 11), Activity(3, 300))
    progress.update(task("fi", 0), Activity(0, 0))
    assert count.workers() == ["workers: fi/00000, fi/00002 30%, th/00011 1%"]
    progress.done(task("fi", 2), "done")
    assert count.workers() == ["workers: fi/00000, th/00011 1%"]
    assert count.lines()[0] == "1/2000 tasks, 0%"


def test_many_workers_fit_in_one_line(progress: LogProgress) -> None:
    count = progress.count
    assert count is not None
    for index in range(64):
        progress.update(task("zh-Hant", index), Activity(9, 10))
    (line,) = count.workers()
    assert line == "workers: zh-Hant/00000 90%, zh-Hant/00001 90%, and 62 more"


def test_a_task_without_a_shard_is_named_by_its_language(progress: LogProgress) -> None:
    count = progress.count
    assert count is not None
    for language in ("fi", "th"):
        progress.update(task(language, 0, PASSAGE), Activity(70, 0))
    assert count.workers() == ["workers: fi, th"]


def test_only_totals_are_kept_of_finished_tasks(progress: LogProgress) -> None:
    count = progress.count
    assert count is not None
    for index in range(1_000):
        progress.update(task("fi", index), Activity(4, 4, tokens=10, dropped=Counter(too_short=1)))
        progress.done(task("fi", index), "done")
    progress.update(task("fi", 1_000), Activity(2, 4))
    assert len(count.activities) == 1
    first, second, third = count.lines()
    assert first == "1000/2000 tasks, 50%"
    assert second.startswith("4,002 requests, ")
    assert third == "dropped: too_short 1,000"
