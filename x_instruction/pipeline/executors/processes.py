"""Workers in processes of this machine. A worker that dies is replaced, and its task is given to another one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from tqdm import tqdm

from x_instruction.config.recipe import Recipe
from x_instruction.engines.budget import SharedSpend, SpendCounter
from x_instruction.errors import XInstructionError
from x_instruction.pipeline.activity import Activity
from x_instruction.pipeline.executors import MOST_DEATHS, Executor, OnDone, OnProgress, OnSetAside
from x_instruction.pipeline.executors.attempts import Attempts, attempt
from x_instruction.pipeline.executors.devices import groups
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.processes import end_process, end_with_parent
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder


class WorkerDied(XInstructionError):
    """Worker processes end before they take a task, so no other worker would fare better."""


@dataclass(slots=True)
class _Process:
    """A worker process.

    Args:
        number: of the worker, from 0. A worker that replaces another one has its number and its GPUs.
        process: the process.
        started: whether it has taken a task.
    """

    number: int
    process: BaseProcess
    started: bool = False


class ProcessExecutor(Executor):
    """Runs tasks in processes of their own, each of which takes the next task when it is done with one."""

    def __init__(
        self, run: RunFolder, settings: Recipe, workers: int, budget: float | None, spent: float, scratch: str = ""
    ) -> None:
        # "spawn": a forked process may not use CUDA, nor threads of a library that was loaded before.
        self._context = multiprocessing.get_context("spawn")
        # What each worker has spent. One that replaces another adds to the same amount.
        self._amounts = self._context.RawArray("d", workers)
        self._before = spent
        self._arguments = (run.location, settings, budget, scratch)
        self._devices = groups(settings, workers)
        # vLLM may start a process for each GPU of a group, which daemons may not.
        self._daemon = all(model.engine != "vllm" for model in settings.models)
        self.workers: dict[Connection, _Process] = {}
        # Workers in a row that died before they took a task.
        self._false_starts = 0
        for number in range(workers):
            self._start(number)

    def run(
        self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone, on_set_aside: OnSetAside
    ) -> None:
        """Give each idle worker the next task, until all tasks are done or set aside."""
        attempts = Attempts(tasks, on_done, on_set_aside)
        busy: dict[Connection, ShardTask] = {}
        while attempts.waiting or busy:
            self._give(attempts.waiting, busy)
            for connection in cast(list[Connection], wait(list(busy))):
                task = busy[connection]
                kind, *values = _receive(connection)
                if kind == "started":
                    self.workers[connection].started = True
                    self._false_starts = 0
                    continue
                if kind == "progress":
                    on_progress(task, *values)
                    continue
                del busy[connection]
                if kind == "died":
                    started = self.workers[connection].started
                    attempts.died(task, self._replace(connection), started)
                else:
                    attempts.ended(task, kind, *values)
        attempts.finish()

    def shutdown(self) -> None:
        """Let idle workers end by themselves, so that they give back what they hold."""
        for connection in self.workers:
            # The worker reads the end of the connection, and ends.
            connection.close()
        for worker in self.workers.values():
            worker.process.join()

    def terminate(self) -> None:
        """End workers in the middle of their work."""
        for connection, worker in self.workers.items():
            connection.close()
            worker.process.terminate()
            worker.process.join()

    def _start(self, number: int) -> None:
        ours, theirs = self._context.Pipe()
        device = self._devices[number % len(self._devices)] if self._devices else None
        process = self._context.Process(
            target=_worker_main,
            args=(theirs, *self._arguments, device, SharedSpend(self._amounts, number, self._before)),
            daemon=self._daemon,
        )
        try:
            with _interrupts_blocked():
                process.start()
                self.workers[ours] = _Process(number, process)
        except OSError as error:
            raise WorkerDied(f"a worker process cannot start: {error}; use fewer --workers") from error
        finally:
            theirs.close()

    def _give(self, waiting: deque[ShardTask], busy: dict[Connection, ShardTask]) -> None:
        """Give each idle worker a task. Workers that died while they were idle are replaced."""
        for connection in list(self.workers):
            if not waiting or connection in busy:
                continue
            try:
                connection.send(waiting[0])
            except OSError:
                self._replace(connection)
            else:
                busy[connection] = waiting.popleft()

    def _replace(self, connection: Connection) -> str:
        """Start another worker in the place of a dead one. Returns how that one ended.

        Raises:
            WorkerDied: several workers in a row died before they took a task.
        """
        worker = self.workers.pop(connection)
        connection.close()
        worker.process.join(5)
        code = worker.process.exitcode
        reason = f"ended with exit code {code}"
        if code == -signal.SIGKILL:
            reason += " (killed, often for lack of memory: use fewer --workers)"
        if not worker.started:
            self._false_starts += 1
            if self._false_starts == MOST_DEATHS:
                raise WorkerDied(
                    f"{MOST_DEATHS} workers in a row died before they took a task; the last one {reason}; "
                    "rerun the same command to continue"
                )
        self._start(worker.number)
        return reason


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that Ctrl-C and a closed terminal do not reach: both signals go to all processes of a terminal,
    and this one ends the others.

    A process inherits what is blocked, and a signal that comes meanwhile takes effect afterwards. Blocking alone is not
    enough: the signal may reach another thread, and Python would run its handler in the middle of the start. The new
    process would then find nothing to read.
    """
    arrived: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            handlers[number] = signal.signal(number, lambda received, frame: arrived.append(received))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def _worker_main(
    connection: Connection,
    location: str,
    settings: Recipe,
    budget: float | None,
    scratch: str,
    device: str | None,
    spent: SpendCounter,
) -> None:
    """The main function of a worker process: make the shards of tasks until the connection ends."""
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    end_with_parent()
    # By default tqdm creates a lock between processes, which would outlive a worker that is terminated.
    tqdm.set_lock(threading.RLock())
    worker = Worker(open_run(location), settings, budget, spent, scratch)

    def on_activity(activity: Activity) -> None:
        connection.send(("progress", activity))

    connection.send(("started",))
    while True:
        try:
            task: ShardTask = connection.recv()
        except (EOFError, OSError):
            end_process(0)
        connection.send(attempt(worker, task, on_activity))


def _receive(connection: Connection) -> Any:
    """The next message of a worker; ``("died",)`` if it ended."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        # The latter in the middle of a message.
        return ("died",)
