"""Workers on the nodes of a Ray cluster, one actor each.

An actor keeps its model from shard to shard. Ray places actors and finds out which have died. Which task is next, and
how often it is tried, is decided here, so Ray restarts no actor and repeats no call.

An actor takes all its GPUs from one node, so a model that vLLM splits over several needs no placement group. In one,
vLLM would ask Ray for GPUs of its own.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction import __version__
from x_instruction.config.recipe import Recipe
from x_instruction.config.site import Site
from x_instruction.engines import engine_spec, keys
from x_instruction.errors import EngineError, ShardError
from x_instruction.pipeline.executors import MOST_DEATHS, Executor, OnDone, OnProgress, OnSetAside
from x_instruction.pipeline.executors.attempts import Attempts
from x_instruction.pipeline.executors.devices import span
from x_instruction.pipeline.executors.ray_cluster import connect, nodes, places
from x_instruction.pipeline.executors.ray_worker import RayWorker, Ready
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.atomic import temporary_for
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ROUND_STAGES

logger = logging.getLogger(__name__)

# Seconds between two questions to a worker about its progress.
_INTERVAL = 0.25
# Seconds between two looks at the nodes of the cluster, and without new workers after one that found no place.
_NODES_INTERVAL = 2.0
# Seconds that the first workers have, after one of them has answered, before that one gets a task.
_FIRST_WORKERS = 30.0
# Seconds without any worker after which the run ends.
_PATIENCE = 600.0


@dataclass(slots=True, eq=False)
class _Actor:
    """A worker.

    Args:
        handle: Ray's handle of the actor.
        ready: its answer to the first question, if it has answered. Until then it may have no place.
        usable: whether it may get tasks. One that may not keeps its place, so that no other is put there.
        task: what it works on.
        spent: what it has spent.
        polled: when it was asked last; None while an answer is due.
    """

    handle: Any
    ready: Ready | None = None
    usable: bool = True
    task: ShardTask | None = None
    spent: float = 0.0
    polled: float | None = 0.0


class RayExecutor(Executor):
    """Runs tasks in actors of a Ray cluster. Nodes that join the cluster meanwhile are used, too.

    Args:
        run: the run, where all nodes can reach it.
        settings: the recipe.
        address: see ``ray_cluster.check_address``.
        workers: most actors; 0 for as many as the cluster has room for.
        budget: the most that all workers together may spend.
        spent: what was spent before.
        site: settings of the place.

    Raises:
        EngineError: no cluster answers at the address, its versions differ, or it has too few GPUs.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: Recipe,
        address: str,
        workers: int,
        budget: float | None,
        spent: float,
        site: Site,
    ) -> None:
        self._settings = settings
        self._site = site.ray
        self._workers = workers or site.ray.workers
        # By workers that have ended, and before.
        self._spent = spent
        location = run.location if run.on_store else str(run.root.absolute())
        self._probe = "" if run.on_store else str(temporary_for(run.root.absolute() / "seen"))
        names = sorted({*site.ray.env, *keys.needed(settings.models)})
        environment = {name: os.environ[name] for name in names if name in os.environ}
        self._arguments = (location, settings, budget, site.scratch, os.getcwd(), environment)
        self._gpus = 0
        self._actors: list[_Actor] = []
        # The actor and the question of each answer that is due.
        self._due: dict[Any, tuple[_Actor, str]] = {}
        self._room = 0
        self._looked = 0.0
        self._first_ready: float | None = None
        self._begun = False
        # Workers in a row that died before they were ready.
        self._false_starts = 0
        self._connected = connect(address)
        try:
            self._check_gpus()
        except EngineError:
            self.shutdown()
            raise
        if self._probe:
            Path(self._probe).touch()

    def run(
        self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone, on_set_aside: OnSetAside
    ) -> None:
        """Give each idle worker the next task, until all tasks are done or set aside."""
        if not tasks:
            return
        self._hold_gpus(tasks[0].key.stage)
        self._seen = time.monotonic()
        attempts = Attempts(tasks, on_done, on_set_aside)
        while attempts.waiting or self._busy():
            self._recruit(len(attempts.waiting) + self._busy())
            self._give(attempts.waiting)
            for actor, question, answer in self._answers():
                if question == "ping":
                    self._welcome(actor, answer)
                    continue
                task = actor.task
                if question == "died":
                    self._bury(actor, answer)
                    if task:
                        # A node that is taken away says nothing about the task.
                        attempts.died(task, _reason(answer), not getattr(answer, "preempted", False))
                    continue
                actor.spent, value = answer
                if task and question == "make":
                    actor.task = None
                    attempts.ended(task, *value)
                elif task and value:
                    on_progress(task, value)
        attempts.finish()

    def shutdown(self) -> None:
        """End all workers, and leave the cluster."""
        self._dismiss()
        if self._probe:
            Path(self._probe).unlink(missing_ok=True)
        if self._connected:
            import ray

            self._connected = False
            ray.shutdown()

    terminate = shutdown

    def _busy(self) -> int:
        return sum(actor.task is not None for actor in self._actors)

    def _check_gpus(self) -> None:
        """Check that a node has the GPUs that the recipe or the site names."""
        size = self._site.gpus or span(self._settings)
        local = [model for model in self._settings.models if not engine_spec(model).remote]
        named = self._site.gpus or size > 1 or any(model.device.startswith("cuda") for model in local)
        if named and not places(self._site.cpus, size):
            most = max([0, *(int(node.get("GPU", 0)) for node in nodes())])
            raise EngineError(
                f"a worker needs {size} GPU{'s' if size > 1 else ''} and {self._site.cpus} CPU of one node, and the "
                f"node of the Ray cluster with most GPUs has {most}: start another node, or change device or "
                "vllm.tensor_parallel in the recipe, or gpus or cpus in [ray] of the site"
            )

    def _hold_gpus(self, stage: str) -> None:
        """Replace workers if a stage needs another number of GPUs than they hold."""
        asks = stage in ROUND_STAGES
        remote = all(engine_spec(model).remote for model in self._settings.models)
        gpus = self._site.gpus or (span(self._settings) if asks else 1)
        if stage in ("passage", "screened") or (asks and remote) or not places(self._site.cpus, gpus):
            gpus = 0
        if gpus != self._gpus:
            self._dismiss()
            self._gpus, self._looked = gpus, 0.0

    def _recruit(self, tasks: int) -> None:
        """Ask Ray for as many workers as it has places for. Those that find none start when there is one.

        Raises:
            EngineError: there has been no worker for a long time.
        """
        now = time.monotonic()
        if now - self._looked > _NODES_INTERVAL:
            # One at least, for which an autoscaler may start a node.
            self._room, self._looked = self._workers or max(1, places(self._site.cpus, self._gpus)), now
        for _ in range(min(self._room, tasks) - len(self._actors)):
            self._start()
        if any(actor.ready and actor.usable for actor in self._actors):
            self._seen = now
        elif now - self._seen > _PATIENCE:
            raise EngineError(
                f"the Ray cluster has had no place for a worker of {self._site.cpus} CPU and {self._gpus} GPUs for "
                f"{_PATIENCE / 60:.0f} minutes: see `ray status`, and rerun the same command to continue"
            )

    def _start(self) -> None:
        import ray

        actor_class = ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=2)(RayWorker)
        actor = _Actor(actor_class.options(num_cpus=self._site.cpus, num_gpus=self._gpus).remote(*self._arguments))
        self._actors.append(actor)
        self._due[actor.handle.ping.remote(self._probe)] = actor, "ping"

    def _give(self, waiting: deque[ShardTask]) -> None:
        """Give each idle worker a task. One that has not answered yet may never find a place."""
        if not self._begun:
            # The first workers tell what is wrong with the cluster before any work is done.
            late = self._first_ready is not None and time.monotonic() - self._first_ready > _FIRST_WORKERS
            self._begun = late or (bool(self._actors) and all(actor.ready for actor in self._actors))
        for actor in self._actors if self._begun else ():
            if waiting and actor.ready and actor.usable and actor.task is None:
                actor.task = waiting.popleft()
                self._ask(actor, "make", actor.task)

    def _ask(self, actor: _Actor, question: str, *arguments: Any) -> None:
        elsewhere = self._spent + sum(other.spent for other in self._actors if other is not actor)
        self._due[getattr(actor.handle, question).remote(*arguments, elsewhere)] = actor, question
        actor.polled = None if question == "poll" else time.monotonic()

    def _answers(self) -> Iterator[tuple[_Actor, str, Any]]:
        """Ask busy workers for their progress, and wait for answers to any question.

        Yields:
            The worker, the question and the answer; for a dead worker ``died`` and Ray's error.
        """
        import ray

        now = time.monotonic()
        for actor in self._actors:
            if actor.task and actor.polled is not None and now - actor.polled > _INTERVAL:
                self._ask(actor, "poll")
        if not self._due:
            time.sleep(_INTERVAL)
            return
        for ref in ray.wait(list(self._due), timeout=_INTERVAL)[0]:
            if ref not in self._due:
                # An earlier answer was that this worker is dead.
                continue
            actor, question = self._due.pop(ref)
            try:
                answer = ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                raise RuntimeError(f"a worker failed:\n{error}") from None
            except ray.exceptions.RayError as error:
                yield actor, "died", error
            else:
                if question == "poll":
                    actor.polled = now
                yield actor, question, answer

    def _welcome(self, actor: _Actor, ready: Ready) -> None:
        """Take in a worker that has found a place.

        Raises:
            ShardError, EngineError: its node cannot work at this run, and no task was given to any worker.
        """
        actor.ready = ready
        self._false_starts = 0
        self._first_ready = self._first_ready or time.monotonic()
        error: ShardError | EngineError | None = None
        if ready.version != __version__:
            error = EngineError(
                f"the Ray node {ready.node} has x_instruction {ready.version}, and this command is {__version__}: "
                "install the same version on every node"
            )
        elif not ready.shares_folder:
            error = ShardError(
                f"the Ray node {ready.node} does not see the folder {self._arguments[0]} of this machine: choose an "
                "--out folder that all nodes share, or an object store such as s3://"
            )
        if error and not self._begun:
            raise error
        if error:
            actor.usable = False
            logger.warning("warning: %s; it gets no work", error)

    def _bury(self, actor: _Actor, error: Exception) -> None:
        """Take out a dead worker.

        Raises:
            EngineError: several workers in a row could not start.
        """
        self._remove(actor)
        if actor.ready:
            logger.warning("warning: a worker on the Ray node %s %s", actor.ready.node, _reason(error))
            return
        # Ray may need some time to notice that a node is lost, and place further workers on it.
        self._looked, self._room = time.monotonic(), len(self._actors)
        # Other errors say that there was no place for it.
        self._false_starts += getattr(error, "actor_init_failed", False)
        if self._false_starts == MOST_DEATHS:
            raise EngineError(
                f"{MOST_DEATHS} workers in a row could not start on the Ray cluster; the last one {_reason(error)}; "
                "rerun the same command to continue"
            )

    def _remove(self, actor: _Actor) -> None:
        """Forget a worker. If Ray only cannot reach it, it is killed."""
        import ray

        self._spent += actor.spent
        self._actors.remove(actor)
        self._due = {ref: due for ref, due in self._due.items() if due[0] is not actor}
        ray.kill(actor.handle)

    def _dismiss(self) -> None:
        for actor in list(self._actors):
            self._remove(actor)


def _reason(error: Exception) -> str:
    """How a worker ended, in one line."""
    # The last line of Ray's message says how. It continues with common causes.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"ended: {lines[-1].partition(' Some common causes')[0].removeprefix('The actor is dead because ')[:300]}"
