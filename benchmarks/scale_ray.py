"""Ray: time per task and memory of the driver, with tasks that take no time, and datatrove's Ray executor beside it.

Ray keeps to the loopback in a network namespace of its own:

    unshare --net python tests/scale/offline.py benchmarks/scale_ray.py 1000 10000
    python -m venv build/datatrove && build/datatrove/bin/pip install datatrove[io]==0.10.1 ray==2.60.0
    unshare --net python tests/scale/offline.py benchmarks/scale_ray.py datatrove build/datatrove/bin/python 20
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DATATROVE = """
import sys, time
import ray
from datatrove.executor.ray import RayPipelineExecutor

def nothing(data=None, rank=0, world_size=1):
    return []

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    tasks = int(sys.argv[1])
    executor = RayPipelineExecutor([nothing], tasks=tasks, workers=2, cpus_per_task=1, logging_dir=sys.argv[2])
    started = time.monotonic()
    executor.run()
    seconds = time.monotonic() - started
    print(f"datatrove, {tasks:,} tasks: {seconds:.1f} s, {1000 * seconds / tasks:.1f} ms per task")
"""


class Idle:
    """Takes the place of ``RayWorker``, and makes nothing."""

    def __init__(self, *_: Any) -> None:
        from x_instruction import __version__
        from x_instruction.pipeline.executors.ray_worker import Ready

        self.answer = Ready("", __version__, True)

    def ping(self, probe: str) -> Any:
        """Ready at once."""
        return self.answer

    def make(self, task: Any, elsewhere: float) -> tuple[float, tuple[Any, ...]]:
        """Done at once."""
        return 0.0, ("done", [])

    def poll(self, elsewhere: float) -> tuple[float, None]:
        """Nothing to report."""
        return 0.0, None


def ours(*numbers: str) -> None:
    """Tasks that take no time, in two actors."""
    import ray

    from x_instruction.config.recipe import load
    from x_instruction.config.site import Site
    from x_instruction.pipeline.executors import ray as executors
    from x_instruction.pipeline.worker import ShardTask
    from x_instruction.storage.run_folder import RunFolder
    from x_instruction.storage.shard_key import PASSAGE

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    executors.RayWorker = Idle  # type: ignore[misc, assignment]
    with tempfile.TemporaryDirectory() as folder:
        executor = executors.RayExecutor(RunFolder(Path(folder)), load("demo"), "", 2, None, 0.0, Site())
        for number in [10, *map(int, numbers)]:
            done: list[int] = []
            tasks = [ShardTask(PASSAGE.shard("fi", index), {"recipe.seed": 1}) for index in range(number)]
            started, cpu = time.monotonic(), time.process_time()
            executor.run(
                tasks, lambda *_: None, lambda task, _, done=done: done.append(task.key.index), lambda *_: None
            )
            seconds, cpu = time.monotonic() - started, time.process_time() - cpu
            assert len(done) == number
            print(
                f"x-instruction, {number:,} tasks: {seconds:.1f} s, {1000 * seconds / number:.2f} ms per task, "
                f"{1000 * cpu / number:.2f} ms of CPU time of the driver, {_memory() / 1e6:.0f} MB",
                flush=True,
            )
        executor.shutdown()


def datatrove(python: str, tasks: str) -> None:
    """The same in datatrove's executor, where each task is a job of its own."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "run.py")
        script.write_text(DATATROVE, "utf-8")
        command = [str(Path(python).absolute()), str(script), tasks, f"{folder}/logs"]
        subprocess.run(command, check=True, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"})


def _memory() -> int:
    """The memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["datatrove"]:
        datatrove(*sys.argv[2:])
    else:
        ours(*sys.argv[1:] or ("1000", "10000"))
