"""Slurm: a stage is a job array, followed by a job that advances the run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from x_instruction.config.site import Slurm
from x_instruction.errors import EngineError, RecipeError
from x_instruction.pipeline.detached import Array, Submission
from x_instruction.storage.shard_key import StageKey

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol")
# Seconds to wait for the controller.
_TIMEOUT = 60.0
# States of elements that have made all that they will make.
_ENDED = {"COMPLETING", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"}


class SlurmScheduler:
    """Submits job arrays with ``sbatch``. Nothing is ever submitted from inside an array.

    Args:
        site: the section of the site.
    """

    advances = True

    def __init__(self, site: Slurm) -> None:
        self.site = site
        self.per_element = site.shards_per_element

    def server(self, stage: StageKey) -> tuple[str, ...]:
        """The command of a model server that each element starts for a stage; empty for none."""
        return {"candidate": self.site.writer_server, "rated": self.site.rater_server}.get(stage.stage, ())

    def check(self, array: Array) -> None:
        """Refuse at once, before any work, what would fail later."""
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise EngineError(
                f"--on slurm needs the command {missing[0]}, which is not on the PATH: run this where Slurm is "
                "installed, such as a login node"
            )
        unset = [name for name in self.site.env if name not in os.environ]
        if unset:
            raise RecipeError(f"slurm.env names {unset[0]}, which is not set: export it first")
        self._largest()
        scripts = {"elements": self._elements(array, 0, 1), "job that advances the run": self._advance(array, [])}
        for what, script in scripts.items():
            asked = _run("sbatch", "--test-only", text=script)
            if asked.returncode:
                raise EngineError(f"Slurm refuses the {what}: {_said(asked)}; change [slurm] of the site")

    def submit(self, array: Array) -> Submission:
        """Submit the elements, and the job that advances the run when they have ended."""
        Path(array.logs).mkdir(parents=True, exist_ok=True)
        elements: list[str] = []
        for first, count in self._chunks(array):
            asked = _run("sbatch", "--parsable", text=self._elements(array, first, count))
            if asked.returncode and not elements:
                raise EngineError(f"sbatch failed: {_said(asked)}")
            if asked.returncode:
                # A limit on the jobs of a user. The advance job submits what is left.
                break
            elements.append(_identifier(asked.stdout))
        asked = _run("sbatch", "--parsable", text=self._advance(array, elements))
        if asked.returncode:
            self.cancel(Submission(elements))
            raise EngineError(f"sbatch failed for the job that advances the run: {_said(asked)}")
        return Submission(elements, _identifier(asked.stdout))

    def states(self, submission: Submission) -> Mapping[str, int]:
        """Elements that have not ended, by state; those that wait with the reason of Slurm."""
        if not submission.elements:
            return {}
        asked = _run("squeue", "-r", "-h", "-j", ",".join(submission.elements), "-o", "%T %r")
        if asked.returncode and "Invalid job id" not in asked.stderr:
            raise EngineError(f"squeue failed: {_said(asked)}")
        counted: Counter[str] = Counter()
        for line in asked.stdout.splitlines() if not asked.returncode else []:
            name, _, reason = line.partition(" ")
            if name not in _ENDED:
                counted[f"{name.lower()} ({reason})" if name == "PENDING" else name.lower()] += 1
        return counted

    def cancel(self, submission: Submission) -> None:
        """Cancel the elements and the job that advances the run."""
        # The job that advances goes first: it starts when the elements have ended.
        for each in filter(None, (submission.advance, *submission.elements)):
            asked = _run("scancel", each)
            if asked.returncode and "Invalid job id" not in asked.stderr:
                raise EngineError(f"scancel failed: {_said(asked)}")

    def shown(self, array: Array) -> str:
        """The scripts that ``submit`` would give to ``sbatch``."""
        scripts = [self._elements(array, first, count) for first, count in self._chunks(array)]
        return "\n".join([*scripts, self._advance(array, ["ARRAY"] * len(scripts))])

    def _chunks(self, array: Array) -> Iterator[tuple[int, int]]:
        """The first element and the number of elements of each array."""
        size = min(self.site.max_array, self._largest())
        for first in range(0, array.elements, size):
            yield first, min(size, array.elements - first)

    def _largest(self) -> int:
        """The most elements of an array that the cluster allows, which is a limit on the index."""
        asked = _run("scontrol", "show", "config")
        if asked.returncode:
            raise EngineError(f"the controller of Slurm does not answer: {_said(asked)}")
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", asked.stdout, re.MULTILINE)
        return max(1, int(found[1])) if found else self.site.max_array

    def _elements(self, array: Array, first: int, count: int) -> str:
        site = self.site
        running = f"%{site.max_running}" if site.max_running else ""
        options = [
            f"--job-name={array.name}",
            f"--array=0-{count - 1}{running}",
            "--requeue" if site.requeue else "--no-requeue",
            f"--signal=B:USR1@{site.signal_seconds}",
            f"--cpus-per-task={site.cpus}",
            *([f"--gres=gpu:{site.gpus}"] if site.gpus and array.needs_gpu else []),
            *([f"--mem={site.memory}"] if site.memory else []),
            *([f"--time={site.time}"] if site.time else []),
        ]
        rank = f"$((SLURM_ARRAY_TASK_ID + {first}))" if first else "$SLURM_ARRAY_TASK_ID"
        command = [*array.command(rank), *(["--requeue"] if site.requeue else [])]
        return self._script(array, options, command, "%A_%a")

    def _advance(self, array: Array, elements: Sequence[str]) -> str:
        options = [
            f"--job-name={array.name}-advance",
            *([f"--dependency=afterany:{':'.join(elements)}"] if elements else []),
            # ``afterany`` holds for elements that fail, too; a dependency that cannot hold must not wait for ever.
            "--kill-on-invalid-dep=yes",
            "--cpus-per-task=1",
            f"--mem={self.site.advance_memory}",
        ]
        return self._script(array, options, array.advance, "%j-advance")

    def _script(self, array: Array, options: Sequence[str], command: Sequence[str], log: str) -> str:
        site = self.site
        names = ",".join(dict.fromkeys((*site.env, *(name for name in array.env if name in os.environ))))
        logs = array.logs.replace("%", "%%")
        place = {"partition": site.partition, "account": site.account, "qos": site.qos}
        options = [
            *options,
            "--ntasks=1",
            f"--chdir={Path.cwd()}",
            f"--output={logs}/{log}.log",
            "--open-mode=append",
            # Names alone: Slurm takes the values from the environment of sbatch.
            f"--export={names or 'NONE'}",
            *(f"--{name}={value}" for name, value in place.items() if value),
            *site.options,
        ]
        # The variable of the rank is for the shell of the element.
        words = [word if word.startswith("$") else shlex.quote(word) for word in command]
        return "\n".join(
            [
                "#!/bin/bash",
                *(f"#SBATCH {shlex.quote(option)}" for option in options),
                *site.setup,
                f"exec {shlex.quote(sys.executable)} -P -m x_instruction {' '.join(words)}",
                "",
            ]
        )


def requeue() -> str:
    """Put the element that this process is back into the queue. Slurm then ends it.

    Returns:
        What Slurm said if it refused; empty if it did not.
    """
    job, task = (os.environ.get(f"SLURM_ARRAY_{name}", "") for name in ("JOB_ID", "TASK_ID"))
    asked = _run("scontrol", "requeue", f"{job}_{task}")
    return _said(asked) if asked.returncode else ""


def _run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} gave no answer in {_TIMEOUT:.0f} s: is the controller of Slurm up?") from None
    except OSError as error:
        raise EngineError(f"cannot run {command[0]}: {error.strerror or error}") from None


def _said(asked: subprocess.CompletedProcess[str]) -> str:
    """What a program of Slurm says in its last line, without its name."""
    lines = [line.strip() for line in asked.stderr.splitlines() if line.strip()]
    useful = [line for line in lines if not line.endswith("Batch job submission failed")] or lines
    return re.sub(r"^\w+: (error: |fatal: )?", "", useful[0]) if useful else f"exit code {asked.returncode}"


def _identifier(answer: str) -> str:
    """The number of a job in the answer of ``sbatch --parsable``, which may name the cluster, too."""
    return answer.strip().partition(";")[0]
