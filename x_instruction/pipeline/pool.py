"""A pool of workers: one process each, or one in this process.

The output of a worker depends on its tasks alone, so any number of workers makes the same bytes. On a machine with GPUs
each worker sees one GPU, or the group of GPUs over which vLLM splits a model.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from x_instruction.config.recipe import Recipe
from x_instruction.engines import engine_spec
from x_instruction.engines.budget import LocalSpend, SpendCounter
from x_instruction.engines.local.devices import gpus
from x_instruction.errors import BudgetReached, EngineError, XInstructionError, rebuild_error
from x_instruction.pipeline.activity import Activity
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.processes import end_process, end_with_parent
from x_instruction.storage.run_folder import RunFolder, ShardReport

# Called with a task and the work on it so far.
OnProgress = Callable[[ShardTask, Activity], None]
OnDone = Callable[[ShardTask, list[ShardReport]], None]


class WorkerDied(XInstructionError):
    """A worker process ended without a message, most often for lack of memory."""


class WorkerPool:
    """Runs tasks. Workers start with the first task, and keep loaded models between calls.

    Args:
        run: the run folder.
        settings: the recipe.
        workers: number of processes; 1 works in this process.
        budget: the most that all workers together may spend.
        spent: what was spent before.

    Raises:
        EngineError: there are too few GPUs for this number of workers.
    """

    def __init__(
        self, run: RunFolder, settings: Recipe, workers: int, budget: float | None = None, spent: float = 0.0
    ) -> None:
        devices = groups(settings, workers)
        # This process gives back GPU memory only when it ends, and training needs all of it.
        tunes = settings.generate.train or settings.refine.train
        if workers == 1 and not (tunes and devices) and not (_in_event_loop() and asks_servers(settings)):
            self._start: Callable[[], Executor] = lambda: InlineExecutor(
                Worker(run, settings, budget, LocalSpend(spent))
            )
        else:
            self._start = lambda: ProcessExecutor(run, settings, workers, budget, spent)
        self._executor: Executor | None = None

    def run(self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone) -> None:
        """Run every task. The first error is raised after the other workers have been stopped."""
        if self._executor is None:
            self._executor = self._start()
        self._executor.run(tasks, on_progress, on_done)

    def shutdown(self) -> None:
        """End the workers, and free the memory of their models. The next tasks start new workers."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._executor is not None:
            self._executor.terminate()
        else:
            self.shutdown()


class Executor:
    """Runs tasks. The order in which they end is not fixed."""

    def run(self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone) -> None:
        """Run every task. The first error is raised after the other workers have been stopped."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """Let idle workers end by themselves, so that they give back what they hold."""

    def terminate(self) -> None:
        """End workers in the middle of their work."""


class InlineExecutor(Executor):
    """Runs tasks in this process."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def run(self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone) -> None:
        """Run the tasks one after the other."""
        for task in tasks:
            on_done(task, self.worker.make(task, partial(on_progress, task)))


class ProcessExecutor(Executor):
    """Runs tasks in processes of their own, each of which takes the next task when it is done with one."""

    def __init__(self, run: RunFolder, settings: Recipe, workers: int, budget: float | None, spent: float) -> None:
        # "spawn": a forked process may not use CUDA, nor threads of a library that was loaded before.
        context = multiprocessing.get_context("spawn")
        self.workers: dict[Connection, Any] = {}
        # An attribute, because its lock must live as long as the workers.
        self.spent: SpendCounter = LocalSpend(spent) if budget is None else context.Value("d", spent)
        devices = groups(settings, workers)
        # vLLM may start a process for each GPU of a group, which daemons may not.
        daemon = all(model.engine != "vllm" for model in settings.models)
        for number in range(workers):
            ours, theirs = context.Pipe()
            device = devices[number % len(devices)] if devices else None
            arguments = (theirs, str(run.root), settings, device, budget, self.spent)
            process = context.Process(target=_worker_main, args=arguments, daemon=daemon)
            with _interrupts_blocked():
                process.start()
            theirs.close()
            self.workers[ours] = process

    def run(self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone) -> None:
        """Give each idle worker the next task, until all tasks are done."""
        waiting = list(reversed(tasks))
        busy: dict[Connection, ShardTask] = {}
        budget_error: list[Any] = []
        while waiting or busy:
            for connection in self.workers:
                if waiting and connection not in busy:
                    busy[connection] = waiting.pop()
                    connection.send(busy[connection])
            for ready in wait(list(busy)):
                connection = cast(Connection, ready)
                task = busy[connection]
                kind, *values = self._receive(connection, task)
                if kind == "progress":
                    on_progress(task, *values)
                elif kind == "done":
                    del busy[connection]
                    on_done(task, *values)
                elif values[0] == BudgetReached.__name__:
                    # The other workers stop by themselves: their requests under way are paid for, and are kept.
                    del busy[connection]
                    waiting, budget_error = [], values
                else:
                    _raise(*values)
        if budget_error:
            _raise(*budget_error)

    def _receive(self, connection: Connection, task: ShardTask) -> Any:
        try:
            return connection.recv()
        except (EOFError, ConnectionResetError):
            self.workers[connection].join(5)
            code = self.workers[connection].exitcode
            raise WorkerDied(
                f"the worker for {task.key} ended with exit code {code}"
                f"{' (killed, often for lack of memory: use fewer --workers)' if code == -9 else ''}; "
                "rerun the same command to continue"
            ) from None

    def shutdown(self) -> None:
        """Let idle workers end by themselves, so that they give back what they hold."""
        for connection in self.workers:
            # The worker reads the end of the connection, and ends.
            connection.close()
        for process in self.workers.values():
            process.join()

    def terminate(self) -> None:
        """End workers in the middle of their work."""
        for connection, process in self.workers.items():
            connection.close()
            process.terminate()
            process.join()


def asks_servers(settings: Recipe) -> bool:
    """Whether a model of the recipe runs on a server."""
    return any(engine_spec(model).remote for model in settings.models)


def _in_event_loop() -> bool:
    """Whether this thread runs an event loop, as notebooks do. A client of a server needs a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def span(settings: Recipe) -> int:
    """The number of GPUs that one worker needs: more than one where vLLM splits a model."""
    return max([1, *(model.vllm.tensor_parallel for model in settings.models if model.engine == "vllm")])


def groups(settings: Recipe, workers: int = 1) -> list[str]:
    """The GPUs of this machine, grouped by worker, each group as ``CUDA_VISIBLE_DEVICES`` names it.

    Raises:
        EngineError: there are too few GPUs for models that are split over several.
    """
    size, visible = span(settings), gpus()
    if size > 1 and len(visible) < size * workers:
        raise EngineError(
            f"vllm.tensor_parallel = {size} with --workers {workers} needs {size * workers} GPUs, and {len(visible)} "
            "are visible: lower one of them, or name more GPUs in CUDA_VISIBLE_DEVICES"
        )
    return [",".join(visible[first : first + size]) for first in range(0, len(visible) - size + 1, size)]


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that Ctrl-C and a closed terminal do not reach: both signals go to all processes of a terminal,
    and this one ends the others.

    A process inherits what is blocked, and a signal that comes meanwhile reaches this one afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _worker_main(
    connection: Connection, root: str, settings: Recipe, device: str | None, budget: float | None, spent: SpendCounter
) -> None:
    """The main function of a worker process: make the shards of tasks until the connection ends."""
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    end_with_parent()
    # By default tqdm creates a lock between processes, which would outlive a worker that is terminated.
    tqdm.set_lock(threading.RLock())
    worker = Worker(RunFolder(Path(root)), settings, budget, spent)

    def on_activity(activity: Activity) -> None:
        connection.send(("progress", activity))

    while True:
        try:
            task: ShardTask = connection.recv()
        except (EOFError, OSError):
            end_process(0)
        try:
            connection.send(("done", worker.make(task, on_activity)))
        except XInstructionError as error:
            connection.send(("failed", type(error).__name__, str(error), ""))
        except Exception as error:
            # A defect: the parent raises it with this traceback.
            connection.send(("failed", type(error).__name__, str(error), traceback.format_exc()))


def _raise(kind: str, message: str, trace: str) -> None:
    if trace:
        raise RuntimeError(f"a worker failed:\n{trace}")
    raise rebuild_error(kind, message)
