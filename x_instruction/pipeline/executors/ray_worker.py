"""A worker in an actor of a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction import __version__
from x_instruction.config.recipe import Recipe
from x_instruction.pipeline.activity import Activity
from x_instruction.pipeline.executors.attempts import attempt
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage.location import open_run

# Seconds within which a new file is seen on every node.
_VISIBLE_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Ready:
    """The first answer of a worker.

    Args:
        node: name of its node.
        version: its version of this package.
        shares_folder: whether its node sees the run folder of the driver.
    """

    node: str
    version: str
    shares_folder: bool


class RaySpend:
    """A spend counter of which other machines hold a part.

    Args:
        elsewhere: what was spent outside of this process, as far as it is known here.

    Attributes:
        here: what this process has spent.
    """

    def __init__(self, elsewhere: float = 0.0) -> None:
        self.here = 0.0
        self.elsewhere = elsewhere

    @property
    def value(self) -> float:
        """The sum."""
        return self.here + self.elsewhere

    def add(self, amount: float) -> None:
        """Add an amount that this process has spent."""
        self.here += amount


class RayWorker:
    """The actor. It has two threads, so that it answers questions while it makes a shard.

    Args:
        location: of the run.
        settings: the recipe.
        budget: the most that all workers together may spend.
        scratch: folder on a local disk for request caches.
        folder: the working folder of the driver, which relative paths of the recipe start from.
        environment: variables to set, such as the key of a server.
    """

    def __init__(
        self,
        location: str,
        settings: Recipe,
        budget: float | None,
        scratch: str,
        folder: str,
        environment: dict[str, str],
    ) -> None:
        os.environ.update(environment)
        with contextlib.suppress(OSError):
            os.chdir(folder)
        # Which of its threads Ray calls is open, and the number of threads that torch sums over belongs to one of them.
        self._maker = ThreadPoolExecutor(max_workers=1)
        self._spend = RaySpend()
        self._activity: Activity | None = None
        self._worker = Worker(open_run(location), settings, budget, self._spend, scratch)

    def ping(self, probe: str) -> Ready:
        """Say that the worker can take a task.

        Args:
            probe: path of a file that every node sees; empty if the run is not in a folder.
        """
        import ray

        end = time.monotonic() + _VISIBLE_WITHIN
        while probe and not Path(probe).exists() and time.monotonic() < end:
            time.sleep(0.2)
        return Ready(ray.util.get_node_ip_address(), __version__, not probe or Path(probe).exists())

    def make(self, task: ShardTask, elsewhere: float) -> tuple[float, tuple[Any, ...]]:
        """Make the shards of a task.

        Args:
            task: the task.
            elsewhere: what the other workers have spent.

        Returns:
            What this worker has spent, and the outcome of ``attempt``.
        """
        self._spend.elsewhere = elsewhere
        self._activity = None
        outcome = self._maker.submit(attempt, self._worker, task, self._note).result()
        return self._spend.here, outcome

    def poll(self, elsewhere: float) -> tuple[float, Activity | None]:
        """What this worker has spent, and its work on the current task so far."""
        self._spend.elsewhere = elsewhere
        return self._spend.here, self._activity

    def _note(self, activity: Activity) -> None:
        self._activity = activity
