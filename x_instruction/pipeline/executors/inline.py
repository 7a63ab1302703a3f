"""One worker in this process: nothing is started, and a kill ends the run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from x_instruction.errors import OutOfMemory
from x_instruction.pipeline.executors import Executor, OnDone, OnProgress, OnSetAside
from x_instruction.pipeline.worker import ShardTask, Worker


class InlineExecutor(Executor):
    """Runs tasks in this process, one after the other. If it is killed, the same command continues the run."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def run(
        self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone, on_set_aside: OnSetAside
    ) -> None:
        """Run every task, or set it aside where a GPU has too little memory for it."""
        for task in tasks:
            try:
                reports = self.worker.make(task, partial(on_progress, task))
            except OutOfMemory as error:
                on_set_aside(task, str(error), error.attempts)
            else:
                on_done(task, reports)
