"""Attempts at tasks in other processes: what a worker sends back, and what becomes of the task."""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from x_instruction.errors import BudgetReached, OutOfMemory, XInstructionError, rebuild_error
from x_instruction.pipeline.activity import OnActivity
from x_instruction.pipeline.executors import MOST_DEATHS, OnDone, OnSetAside
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage.shard_key import ShardKey


def attempt(worker: Worker, task: ShardTask, on_activity: OnActivity) -> tuple[Any, ...]:
    """Make the shards of a task, in a worker process.

    Returns:
        The outcome, for ``Attempts.ended`` in another process.
    """
    try:
        return "done", worker.make(task, on_activity)
    except OutOfMemory as error:
        return "set aside", str(error), error.attempts
    except XInstructionError as error:
        return "failed", type(error).__name__, str(error), ""
    except Exception as error:
        # A defect: the other process raises it with this traceback.
        return "failed", type(error).__name__, str(error), traceback.format_exc()


class Attempts:
    """The tasks of one call of ``Executor.run``.

    Args:
        tasks: the tasks.
        on_done: called with a task that is done.
        on_set_aside: called with a task that is set aside.

    Attributes:
        waiting: tasks that no worker has.
    """

    def __init__(self, tasks: Sequence[ShardTask], on_done: OnDone, on_set_aside: OnSetAside) -> None:
        self.waiting = deque(tasks)
        self._on_done = on_done
        self._on_set_aside = on_set_aside
        self._deaths: Counter[ShardKey] = Counter()
        self._budget_error: tuple[str, str, str] | None = None

    def ended(self, task: ShardTask, outcome: str, *values: Any) -> None:
        """Take what ``attempt`` returned.

        Raises:
            XInstructionError: the attempt failed.
            RuntimeError: it failed by a defect.
        """
        if outcome == "done":
            self._on_done(task, *values)
        elif outcome == "set aside":
            self._on_set_aside(task, *values)
        elif values[0] == BudgetReached.__name__:
            # The other workers stop by themselves: their requests under way are paid for, and are kept.
            self.waiting.clear()
            self._budget_error = values[0], values[1], values[2]
        else:
            _raise(*values)

    def died(self, task: ShardTask, reason: str, of_task: bool = True) -> None:
        """Take back the task of a worker that died, or set it aside if it has killed several.

        Args:
            task: the task.
            reason: how the worker ended.
            of_task: whether the task may have caused it.
        """
        self._deaths[task.key] += of_task
        if of_task and self._deaths[task.key] == MOST_DEATHS:
            self._on_set_aside(task, f"{MOST_DEATHS} workers died of it; the last one {reason}", MOST_DEATHS)
        elif self._budget_error is None:
            self.waiting.append(task)

    def finish(self) -> None:
        """Check the end of the run.

        Raises:
            BudgetReached: a worker reached the budget.
        """
        if self._budget_error is not None:
            _raise(*self._budget_error)


def _raise(kind: str, message: str, trace: str) -> None:
    if trace:
        raise RuntimeError(f"a worker failed:\n{trace}")
    raise rebuild_error(kind, message)
