"""Workers: one process each, given one job after another; one worker works in this process.

A worker's results depend on its job alone, so any number of workers makes the same bytes. On a machine with GPUs each
worker sees one of them, or the group over which vLLM splits a model.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from x_instruction.config.recipe import Recipe
from x_instruction.engines.budget import LocalSpend, SpendCounter
from x_instruction.engines.local.devices import gpus
from x_instruction.errors import BudgetReached, EngineError, XInstructionError, rebuild_error
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage.run_folder import RunFolder, ShardReport

# Progress is sent at most this often by each worker, in seconds.
_EVERY = 0.2

OnSeen = Callable[[ShardTask, int, int], None]
OnDone = Callable[[ShardTask, list[ShardReport]], None]


class WorkerDied(XInstructionError):
    """A worker process ended without a word, most often for lack of memory."""


class WorkerPool:
    """Who performs jobs: workers that are started when first wanted, and keep loaded models between calls.

    Args:
        budget: what all workers together may spend.
        spent: what was spent before.
    """

    def __init__(
        self, run: RunFolder, settings: Recipe, workers: int, budget: float | None = None, spent: float = 0.0
    ) -> None:
        groups(settings, workers)
        self._given = (run, settings, workers, budget, spent)
        self._at_work: Executor | None = None

    def perform(self, jobs: Sequence[ShardTask], seen: OnSeen, done: OnDone) -> None:
        """Perform every job, or raise the first error after the others have been stopped."""
        if self._at_work is None:
            run, settings, workers, budget, spent = self._given
            # What this process holds of a GPU it gives back at its end only, and a tuning wants all of it.
            tunes = settings.generate.tune or settings.refine.tune
            here = workers == 1 and not (tunes and groups(settings))
            self._at_work = (
                _InlineExecutor(Worker(run, settings, budget, LocalSpend(spent)))
                if here
                else _ProcessExecutor(*self._given)
            )
        self._at_work(jobs, seen, done)

    def rest(self) -> None:
        """End the workers, and with them their models; the next jobs start others."""
        if self._at_work is not None:
            self._at_work.close()
            self._at_work = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._at_work is not None:
            self._at_work.stop()
        elif self._at_work is not None:
            self._at_work.close()


class Executor:
    """Performs jobs; the order in which they end is not fixed."""

    def __call__(self, jobs: Sequence[ShardTask], seen: OnSeen, done: OnDone) -> None:
        """Perform every job, or raise the first error after the others have been stopped."""
        raise NotImplementedError

    def close(self) -> None:
        """Let workers end by themselves, so that they give back what they hold."""

    def stop(self) -> None:
        """End workers in the middle of their work."""


class _InlineExecutor(Executor):
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def __call__(self, jobs: Sequence[ShardTask], seen: OnSeen, done: OnDone) -> None:
        for job in jobs:
            done(job, self.worker.perform(job, lambda n, total, job=job: seen(job, n, total)))  # type: ignore[misc]


class _ProcessExecutor(Executor):
    def __init__(self, run: RunFolder, settings: Recipe, workers: int, budget: float | None, spent: float) -> None:
        # "spawn": a forked process may not use CUDA, nor threads of a library that was loaded before.
        context = multiprocessing.get_context("spawn")
        self.workers: dict[Connection, Any] = {}
        # Kept as long as the workers: its lock goes with it.
        self.purse: SpendCounter = LocalSpend(spent) if budget is None else context.Value("d", spent)
        devices = groups(settings, workers)
        # vLLM may start processes of its own, one for each GPU of a group, which daemons may not.
        daemon = "vllm" not in (settings.generate.model.engine, settings.refine.model.engine)
        for number in range(workers):
            ours, theirs = context.Pipe()
            device = devices[number % len(devices)] if devices else None
            given = (theirs, str(run.root), settings, device, budget, self.purse)
            process = context.Process(target=_serve, args=given, daemon=daemon)
            process.start()
            theirs.close()
            self.workers[ours] = process

    def __call__(self, jobs: Sequence[ShardTask], seen: OnSeen, done: OnDone) -> None:
        waiting = list(reversed(jobs))
        busy: dict[Connection, ShardTask] = {}
        stopped: list[Any] = []
        while waiting or busy:
            for connection in self.workers:
                if waiting and connection not in busy:
                    busy[connection] = waiting.pop()
                    connection.send(busy[connection])
            for ready in wait(list(busy)):
                connection = cast(Connection, ready)
                job = busy[connection]
                kind, *values = self._receive(connection, job)
                if kind == "seen":
                    seen(job, *values)
                elif kind == "done":
                    del busy[connection]
                    done(job, *values)
                elif values[0] == BudgetReached.__name__:
                    # The other workers stop by themselves: what they have under way is paid for, and kept.
                    del busy[connection]
                    waiting, stopped = [], values
                else:
                    _raise(*values)
        if stopped:
            _raise(*stopped)

    def _receive(self, connection: Connection, job: ShardTask) -> Any:
        try:
            return connection.recv()
        except (EOFError, ConnectionResetError):
            self.workers[connection].join(5)
            code = self.workers[connection].exitcode
            raise WorkerDied(
                f"the worker for {job.key} ended with exit code {code}"
                f"{' (killed, often for lack of memory: use fewer --workers)' if code == -9 else ''}; "
                "run the same command again to go on where it stopped"
            ) from None

    def close(self) -> None:
        """Let idle workers end by themselves, so that they give back what they hold."""
        for connection in self.workers:
            connection.close()
        for process in self.workers.values():
            process.join()

    def stop(self) -> None:
        """End workers in the middle of their work."""
        for connection, process in self.workers.items():
            connection.close()
            process.terminate()
            process.join()


def span(settings: Recipe) -> int:
    """GPUs of one worker: more than one where vLLM splits a model."""
    models = (settings.generate.model, settings.refine.model)
    return max([1, *(model.vllm.tensor_parallel for model in models if model.engine == "vllm")])


def groups(settings: Recipe, workers: int = 1) -> list[str]:
    """This machine's GPUs, as many together as one worker takes.

    Raises:
        EngineError: there are too few GPUs for models that are split over several.
    """
    size, found = span(settings), gpus()
    if size > 1 and len(found) < size * workers:
        raise EngineError(
            f"vllm.tensor_parallel = {size} with {workers} workers wants {size * workers} GPUs, and {len(found)} are "
            "seen: lower it or --workers, or name the GPUs in CUDA_VISIBLE_DEVICES"
        )
    return [",".join(found[first : first + size]) for first in range(0, len(found) - size + 1, size)]


def _serve(
    connection: Connection, root: str, settings: Recipe, device: str | None, budget: float | None, purse: SpendCounter
) -> None:
    """A worker process's life."""
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # Libraries that draw bars would each make a lock between processes, which outlives a worker that is ended.
    tqdm.set_lock(threading.RLock())
    worker = Worker(RunFolder(Path(root)), settings, budget, purse)
    last = 0.0

    def seen(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _EVERY:
            last = time.monotonic()
            connection.send(("seen", done, total))

    while True:
        try:
            job: ShardTask = connection.recv()
        except (EOFError, OSError):
            _leave(0)
        try:
            connection.send(("done", worker.perform(job, seen)))
        except XInstructionError as error:
            connection.send(("failed", type(error).__name__, str(error), ""))
        except Exception as error:
            # A defect: it crosses to the parent with its traceback and is raised there.
            connection.send(("failed", type(error).__name__, str(error), traceback.format_exc()))


def _end_with(parent: int) -> None:
    """End this process when its parent has gone: a killed run must not go on writing."""
    while os.getppid() == parent:
        time.sleep(0.5)
    _leave(1)


def _leave(code: int) -> None:
    """End this process and those that it started, which would keep their GPUs.

    Nothing is left to flush, and the interpreter's own way out was seen to hang in native libraries now and then after
    models had been loaded.
    """
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(code)


def _raise(kind: str, message: str, trace: str) -> None:
    if trace:
        raise RuntimeError(f"a worker failed:\n{trace}")
    raise rebuild_error(kind, message)
