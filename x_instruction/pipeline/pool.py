"""A pool of workers: it keeps the executor of a run, with loaded models, from stage to stage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from x_instruction.config.recipe import Recipe
from x_instruction.config.site import Site
from x_instruction.engines import engine_spec
from x_instruction.engines.budget import LocalSpend
from x_instruction.pipeline.executors import Executor, OnDone, OnProgress, OnSetAside
from x_instruction.pipeline.executors.devices import default_workers, groups
from x_instruction.pipeline.executors.inline import InlineExecutor
from x_instruction.pipeline.executors.processes import ProcessExecutor
from x_instruction.pipeline.executors.ray import RayExecutor
from x_instruction.pipeline.models import Models
from x_instruction.pipeline.on import LOCAL, On
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey


class WorkerPool:
    """Runs tasks. Workers start with the first task, and keep loaded models between calls.

    Args:
        run: the run folder.
        settings: the recipe.
        workers: number of processes; 1 works in this process, 0 takes as many as the place has room for.
        budget: the most that all workers together may spend.
        spent: returns what was spent before. It is asked whenever workers start: after a training, the run itself has
            spent more.
        on: where workers are started.
        site: settings of that place.

    Raises:
        EngineError: there are too few GPUs for this number of workers, or the cluster cannot be used.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: Recipe,
        workers: int,
        budget: float | None = None,
        spent: Callable[[], float] = lambda: 0.0,
        on: On = LOCAL,
        site: Site | None = None,
    ) -> None:
        site = site or Site()
        self._executor: Executor | None = None
        if on.kind == "ray":
            self._start: Callable[[], Executor] = lambda: RayExecutor(
                run, settings, on.address, workers, budget, spent(), site
            )
            # Now, so that a cluster that cannot be used is noticed before any work.
            self._executor = self._start()
            return
        workers = workers or default_workers(settings)
        devices = groups(settings, workers)
        # This process gives back GPU memory only when it ends, and training needs all of it.
        tunes = settings.generate.train or settings.refine.train
        if workers == 1 and not (tunes and devices) and not (_in_event_loop() and asks_servers(settings)):
            self._start = lambda: InlineExecutor(Worker(run, settings, budget, LocalSpend(spent()), site.scratch))
        else:
            self._start = lambda: ProcessExecutor(run, settings, workers, budget, spent(), site.scratch)

    def run(
        self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone, on_set_aside: OnSetAside
    ) -> None:
        """Run every task, or set it aside. The first error is raised after the other workers have been stopped."""
        if self._executor is None:
            self._executor = self._start()
        self._executor.run(tasks, on_progress, on_done, on_set_aside)

    def train(self, models: Models, role: str, stage: StageKey) -> None:
        """Train the models that a stage asks, unless they are complete."""
        # Workers hold models, and training needs the memory of the machine.
        models.ready(role, stage.round, self.shutdown)

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
