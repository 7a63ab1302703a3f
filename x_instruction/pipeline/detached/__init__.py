"""Detached runs: other machines make the shards, and nothing waits for them.

The coordinator (``x-instruction run --on slurm``) plans, writes what is missing of the next stage to a file of tasks in
the run folder, and submits an array of elements. Each element (``x-instruction work``) makes its tasks and plans
nothing. When the array has ended, ``x-instruction advance`` coordinates again: what a stage needs is known only when
the one before it is complete. A scheduler of this package is a thin layer over an existing one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from x_instruction import __version__
from x_instruction.config import recipe
from x_instruction.config.recipe import Recipe
from x_instruction.errors import ShardError
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.shard_key import StageKey

# The folder within a run for files of tasks, the state of the coordinator and logs.
FOLDER = "work"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Work:
    """What the elements of an array make: shards of a stage, or the models that the stage asks.

    Args:
        recipe: the recipe.
        stage: the stage.
        tasks: the shards; none if models are trained.
        role: the role of the models to train, ``generator`` or ``rater``; empty if shards are made.
        server: the command of a model server that each element starts; empty for none.
        scratch: folder on a local disk of a node for request caches; see ``storage.scratch``.
    """

    recipe: Recipe
    stage: StageKey
    tasks: Sequence[ShardTask]
    role: str = ""
    server: tuple[str, ...] = ()
    scratch: str = ""

    def dumps(self) -> bytes:
        """The file of tasks. Settings that all tasks share are written once."""
        first = dict(self.tasks[0].settings) if self.tasks else {}
        shared = {
            key: value
            for key, value in first.items()
            if all(key in task.settings and task.settings[key] == value for task in self.tasks)
        }
        tasks = [
            {
                "language": task.key.language,
                "index": task.key.index,
                "settings": {key: value for key, value in task.settings.items() if key not in shared},
            }
            for task in self.tasks
        ]
        table = {
            "format": _FORMAT,
            "version": __version__,
            "recipe": self.recipe.model_dump(),
            "stage": self.stage.stage,
            "round": self.stage.round,
            "role": self.role,
            "server": self.server,
            "scratch": self.scratch,
            "settings": shared,
            "tasks": tasks,
        }
        return json.dumps(table, ensure_ascii=False).encode()

    @classmethod
    def loads(cls, data: bytes, name: str) -> Work:
        """The work in a file of tasks.

        Args:
            data: the content of the file.
            name: its name, for messages.

        Raises:
            ShardError: the file is damaged, or another version wrote it.
        """
        try:
            table = json.loads(data)
            version = table["version"] if table["format"] == _FORMAT else f"of format {table['format']}"
            if version != __version__:
                raise ShardError(
                    f"{name} was written by x-instruction {version}, and this is {__version__}: use one version on all "
                    "machines, then rerun `x-instruction run`"
                )
            stage = StageKey(table["stage"], table["round"])
            tasks = [
                ShardTask(stage.shard(task["language"], task["index"]), {**table["settings"], **task["settings"]})
                for task in table["tasks"]
            ]
            settings = recipe.loads(json.dumps(table["recipe"]))
            return cls(settings, stage, tasks, table["role"], tuple(table["server"]), table["scratch"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ShardError(f"cannot read the tasks in {name}: {error!r}; rerun `x-instruction run`") from error


@dataclass(frozen=True, slots=True)
class Array:
    """Elements to submit, which divide the tasks of one file.

    Args:
        location: the run, as ``open_run`` takes it.
        tasks: the file of tasks, relative to the run.
        name: a short name for the queue, such as ``demo-candidate-0``.
        elements: their number.
        needs_gpu: whether an element runs a model.
        env: names of the environment variables that an element needs, besides those that the site names.
        asks_gpu: whether a model of the recipe runs on a GPU only.
        logs: the folder for the logs of elements, on this machine.
    """

    location: str
    tasks: str
    name: str
    elements: int
    needs_gpu: bool
    env: tuple[str, ...] = ()
    asks_gpu: bool = False
    logs: str = ""

    def command(self, rank: str) -> list[str]:
        """The command of an element, after the name of the program.

        Args:
            rank: the number of the element from 0, or a variable of the shell that holds it.
        """
        return ["work", self.location, "--tasks", self.tasks, "--rank", rank, "--of", str(self.elements)]

    @property
    def advance(self) -> list[str]:
        """The command that coordinates again once all elements have ended, after the name of the program."""
        return ["advance", self.location]


@dataclass(frozen=True, slots=True)
class Submission:
    """What a scheduler was given.

    Args:
        elements: identifiers of the elements or of their arrays.
        advance: identifier of the job that advances the run when they have ended; empty without one.
    """

    elements: Sequence[str]
    advance: str = ""


class Scheduler(Protocol):
    """Submits arrays to an existing scheduler. It is made from its section of a ``Site``.

    Attributes:
        advances: whether the scheduler itself runs ``Array.advance`` when all elements have ended. If not, the
            coordinator waits for them and advances.
        per_element: the most tasks that an element is given.
    """

    advances: bool
    per_element: int

    def server(self, stage: StageKey) -> tuple[str, ...]:
        """The command of a model server that each element starts for a stage; empty for none."""

    def check(self, array: Array) -> None:
        """Refuse at once, before any work, what would fail later.

        Args:
            array: like those that will be submitted, with one element.

        Raises:
            RecipeError: a setting of the site is not possible.
            EngineError: the scheduler does not answer, or is not installed.
        """

    def submit(self, array: Array) -> Submission:
        """Submit the elements of an array, and the job that advances the run when they have ended."""

    def states(self, submission: Submission) -> Mapping[str, int]:
        """Elements that have not ended, by state, such as ``{"running": 3}``.

        Raises:
            EngineError: the scheduler does not answer.
        """

    def cancel(self, submission: Submission) -> None:
        """Cancel everything that was submitted and has not ended."""

    def shown(self, array: Array) -> str:
        """What ``submit`` would submit, for people. Nothing is submitted."""


__all__ = ["FOLDER", "Array", "Scheduler", "Submission", "Work"]
