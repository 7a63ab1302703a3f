"""Executors: where the tasks of a stage run: in this process, in processes of this machine, or on a Ray cluster.

The output of a task depends on the task alone, so every executor makes the same bytes. A task that kills several
workers is set aside with its reason, and the other tasks are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from x_instruction.pipeline.activity import Activity
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.run_folder import ShardReport

# Workers that may die of one task before it is set aside.
MOST_DEATHS = 3

# Called with a task and the work on it so far.
OnProgress = Callable[[ShardTask, Activity], None]
# Called with a complete task and the reports of its shards.
OnDone = Callable[[ShardTask, list[ShardReport]], None]
# Called with a task that is set aside, the reason, and how often it was tried.
OnSetAside = Callable[[ShardTask, str, int], None]


class Executor:
    """Runs tasks. The order in which they end is not fixed."""

    def run(
        self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone, on_set_aside: OnSetAside
    ) -> None:
        """Run every task, or set it aside. The first error is raised after the other workers have been stopped."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """Let idle workers end by themselves, so that they give back what they hold."""

    def terminate(self) -> None:
        """End workers in the middle of their work."""
