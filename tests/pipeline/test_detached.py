"""The file of tasks that elements read."""

from __future__ import annotations

import json

import pytest

from x_instruction.config.recipe import load
from x_instruction.errors import ShardError
from x_instruction.pipeline.detached import Array, Work
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.shard_key import StageKey

CANDIDATE = StageKey("candidate", 1)
KEYS = [CANDIDATE.shard(tag, n) for tag in ("fi", "sw") for n in (0, 7)]
TASKS = [ShardTask(key, {"seed": 1, "input.a": str(key)}) for key in KEYS]


def test_tasks_are_read_as_they_were_written_and_shared_settings_are_written_once() -> None:
    work = Work(load("demo"), CANDIDATE, TASKS)
    written = work.dumps()
    assert Work.loads(written, "1.json") == work
    assert written.count(b'"seed": 1}') == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.0.1"}, "1.json was written by x-instruction 0.0.1, and this is"),
        ({"format": 99}, "1.json was written by x-instruction of format 99"),
        ({"tasks": [{}]}, "cannot read the tasks in 1.json: KeyError"),
    ],
)
def test_tasks_of_another_version_are_refused(change: dict[str, object], message: str) -> None:
    table = json.loads(Work(load("demo"), CANDIDATE, TASKS).dumps())
    with pytest.raises(ShardError) as raised:
        Work.loads(json.dumps(table | change).encode(), "1.json")
    assert message in str(raised.value)


def test_the_command_of_an_element_names_its_part() -> None:
    array = Array("/runs/demo", "work/3.json", "demo-candidate-0", 5, needs_gpu=True)
    assert " ".join(array.command("2")) == "work /runs/demo --tasks work/3.json --rank 2 --of 5"
