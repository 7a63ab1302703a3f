"""An element: makes its share of a file of tasks, in one worker per GPU.

It takes no lock, sweeps nothing and plans nothing. This process only starts workers, and starts another one when one
dies; a task that killed several is set aside.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import PurePosixPath

from x_instruction.errors import EngineError, OutOfMemory, ShardError, XInstructionError
from x_instruction.pipeline.detached import Work
from x_instruction.pipeline.detached.attempts import attempt, attempts, died_of
from x_instruction.pipeline.detached.node_server import asking, node_server
from x_instruction.pipeline.detached.record import acknowledge, keep_error, last_error
from x_instruction.pipeline.execute import outcome
from x_instruction.pipeline.executors import MOST_DEATHS
from x_instruction.pipeline.executors.devices import groups
from x_instruction.pipeline.models import Models
from x_instruction.pipeline.part import Part
from x_instruction.pipeline.progress import LogProgress
from x_instruction.pipeline.rounds import title
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.processes import end_process, end_with_parent
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder

# Signals that end an element early. With the first one its time is over, and it goes back into the queue.
_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class NotShared(ShardError):
    """This machine does not see what the coordinator wrote."""


class _Stopped(KeyboardInterrupt):
    """A signal, its argument, ends the work. What cleans up after Ctrl-C does so after it, too."""


def make(location: str, tasks: str, rank: int, of: int) -> int:
    """Make the tasks of a rank, except those that are complete.

    Args:
        location: the run.
        tasks: the file of tasks, relative to the run.
        rank, of: the share of the tasks: part ``rank`` of ``of`` equal parts.

    Returns:
        The signal that ended the work early; 0 if every task is complete or set aside.

    Raises:
        RecipeError: ``rank`` is out of range.
        NotShared: the file of tasks is not there.
        ShardError: another version wrote it.
        XInstructionError: a worker failed. What it says is also kept in the run folder.
    """
    part = Part(rank, of)
    run = open_run(location)
    work = _read(run, tasks)
    number = int(PurePosixPath(tasks).stem)
    acknowledge(run, number)
    _say(f"element {rank} of {of} on {os.environ.get('SLURMD_NODENAME') or socket.gethostname()}")
    if not work.server or all(run.complete(task.key) for task in _share(work, part)):
        return _Element(run, work, part, number).run()
    try:
        with _stoppable(), node_server(work.server) as url:
            changed = replace(work, recipe=asking(work.recipe, work.stage, url))
            return _Element(run, changed, part, number).run()
    except _Stopped as stopped:
        return int(stopped.args[0])
    except EngineError as error:
        keep_error(run, number, str(error))
        raise


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """End the block with ``_Stopped`` at a signal, so that a server ends that still loads its model."""
    before = {number: signal.signal(number, _stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _read(run: RunFolder, tasks: str) -> Work:
    data = run.read_file(tasks)
    if data is None:
        raise NotShared(
            f"{socket.gethostname()} does not see {run.location}/{tasks}, which the coordinator wrote: put the run "
            "into a folder that all nodes share"
        )
    return Work.loads(data, tasks)


def _share(work: Work, part: Part) -> Sequence[ShardTask]:
    """The tasks of an element. Neighbours share a language, and so a model if each language has its own."""
    first, last = (len(work.tasks) * each // part.of for each in (part.rank, part.rank + 1))
    return work.tasks[first:last]


class _Element:
    """Starts a worker per GPU, and another one in the place of each that dies.

    Args:
        run: the run folder.
        work: all tasks.
        part: the share of this element.
        number: of the file of tasks.
    """

    def __init__(self, run: RunFolder, work: Work, part: Part, number: int) -> None:
        self._run = run
        self._work = work
        self._number = number
        # Training and a server take all GPUs.
        self._devices: Sequence[str | None] = [None] if work.role or work.server else groups(work.recipe) or [None]
        own = _share(work, part)
        self._tasks = [own[number :: len(self._devices)] for number in range(len(self._devices))]
        self._workers: dict[int, BaseProcess] = {}
        self._signal = 0

    def run(self) -> int:
        """Make the tasks. Returns the signal that ended the work early, or 0.

        Raises:
            ShardError: a worker failed.
        """
        handlers = {number: signal.signal(number, self._forward) for number in _SIGNALS}
        failed = ""
        try:
            begun = [self._start(number) for number in range(len(self._devices))]
            while self._workers:
                wait([process.sentinel for process in self._workers.values()])
                for number, process in list(self._workers.items()):
                    process.join(0)
                    if process.exitcode is None:
                        continue
                    del self._workers[number]
                    if process.exitcode == 0 or self._signal:
                        continue
                    if process.exitcode > 0:
                        failed = last_error(self._run, self._number) or "a worker failed"
                    elif begun[number] == self._begun(number):
                        failed = f"a worker was ended by signal {-process.exitcode} before it began a task"
                    else:
                        begun[number] = self._start(number)
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)
        if failed and not self._signal:
            raise ShardError(failed.strip())
        return self._signal

    def _start(self, number: int) -> int:
        """Start a worker. Returns what was begun before."""
        begun = self._begun(number)
        # Nothing heavy is imported and no thread runs before the fork, so it is safe and costs next to nothing.
        process = multiprocessing.get_context("fork").Process(
            target=_worker_main,
            args=(self._run, self._work, self._tasks[number], self._devices[number], self._number),
        )
        # A signal that comes meanwhile reaches the worker when it can be stopped.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
            self._workers[number] = process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return begun

    def _begun(self, number: int) -> int:
        """Tasks of a worker that are complete, and attempts at the others."""
        keys = [task.key for task in self._tasks[number]]
        return sum(attempts(self._run, key) + self._run.complete(key) for key in keys)

    def _forward(self, received: int, _: object) -> None:
        self._signal = received
        for process in self._workers.values():
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, received)


def _worker_main(run: RunFolder, work: Work, tasks: Sequence[ShardTask], device: str | None, number: int) -> None:
    """The main function of a worker."""
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    for received in _SIGNALS:
        signal.signal(received, _stop)
    end_with_parent()
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if work.role:
            Models(run, work.recipe, False, _say).ready(work.role, work.stage.round)
        else:
            _make(run, work, tasks)
        code = 0
    except _Stopped:
        pass
    except XInstructionError as error:
        keep_error(run, number, str(error))
    except Exception as error:
        # A defect: its traceback belongs into the log.
        traceback.print_exc()
        keep_error(run, number, repr(error))
    sys.stdout.flush()
    sys.stderr.flush()
    end_process(code)


def _make(run: RunFolder, work: Work, tasks: Sequence[ShardTask]) -> None:
    """Make tasks that are not complete. Those that killed workers before come last, or are set aside."""
    worker = Worker(run, work.recipe, scratch=work.scratch)
    progress = LogProgress(sys.stderr)
    tries = {task.key: attempts(run, task.key) for task in tasks}
    progress.stage(title(work.stage), len(tasks))
    for task in sorted(tasks, key=lambda task: tries[task.key]):
        if run.complete(task.key):
            continue
        if tries[task.key] >= MOST_DEATHS:
            reason = died_of(tries[task.key])
            run.set_aside(task.key, reason, tries[task.key])
            progress.done(task, f"{task.key}: set aside: {reason}")
            continue
        with attempt(run, task.key):
            try:
                reports = worker.make(task, partial(progress.update, task))
            except OutOfMemory as error:
                run.set_aside(task.key, str(error), error.attempts)
                progress.done(task, f"{task.key}: set aside: {error}")
            else:
                progress.done(task, outcome(task, reports))


def _stop(number: int, _: object) -> None:
    # Once: a second signal must not interrupt what cleans up.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped(number)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
