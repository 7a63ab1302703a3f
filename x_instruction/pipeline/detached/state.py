"""The state of a detached run, a file in the run folder: what was submitted last, and why the run stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from x_instruction.config.section import validate
from x_instruction.config.site import Site
from x_instruction.errors import RecipeError, ShardError, XInstructionError
from x_instruction.pipeline.detached import FOLDER, Scheduler, Submission
from x_instruction.pipeline.rounds import title
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

# Reasons why nothing more is submitted, besides errors.
COMPLETE = "complete"
CANCELLED = "cancelled"
_FILE = "state.json"


@dataclass(frozen=True, slots=True)
class State:
    """What was submitted last.

    Args:
        on: the kind of scheduler, as ``--on`` names it.
        site: the site, as plain data.
        until: the last stage to make.
        overwrite: whether shards of other settings are made again.
        number: of the last file of tasks, from 1; 0 before the first.
        begun: whether this run has submitted anything.
        stage, round: the stage that is made.
        role: the role of the models that are trained for it; empty if shards are made.
        elements: number of elements.
        tasks: number of tasks that they were given.
        submitted: what the scheduler was given.
        idle: arrays in a row that made nothing.
        ended: why nothing more is submitted: ``complete``, ``cancelled`` or the error; empty while the run continues.
    """

    on: str
    site: dict[str, Any]
    until: str
    overwrite: bool = False
    number: int = 0
    begun: bool = False
    stage: str = "passage"
    round: int = 0
    role: str = ""
    elements: int = 0
    tasks: int = 0
    submitted: Submission = field(default_factory=lambda: Submission(()))
    idle: int = 0
    ended: str = ""

    @property
    def stage_key(self) -> StageKey:
        """The stage that is made."""
        return StageKey(self.stage, self.round)

    def summary(self) -> str:
        """What was submitted last, such as ``generate, round 1: 36 shards in 5 elements on slurm (12)``."""
        what = f"training of the {self.role}" if self.role else f"{self.tasks:,} shard{'s' * (self.tasks != 1)}"
        jobs = f" ({' '.join(self.submitted.elements)})" if self.submitted.elements else ""
        elements = f"{self.elements:,} element{'s' * (self.elements != 1)}"
        return f"{title(self.stage_key)}: {what} in {elements} on {self.on}{jobs}"

    def scheduler(self) -> Scheduler:
        """The scheduler that the run was submitted to."""
        return scheduler(self.on, validate(Site, self.site))


def scheduler(on: str, site: Site) -> Scheduler:
    """The scheduler of a kind.

    Raises:
        RecipeError: there is none of this kind.
    """
    if on == "slurm":
        from x_instruction.pipeline.detached.slurm import SlurmScheduler

        return SlurmScheduler(site.slurm)
    if on == "hf-jobs":
        from x_instruction.pipeline.detached.hf_jobs import HfJobsScheduler

        return HfJobsScheduler(site.hf_jobs)
    raise RecipeError(f"--on is {on!r}, which submits nothing: expected slurm or hf-jobs")


def file(name: str) -> str:
    """The name of a file of the detached run, relative to the run."""
    return f"{FOLDER}/{name}"


def load(run: RunFolder) -> State | None:
    """The state, or None if nothing was ever submitted.

    Raises:
        ShardError: the file is damaged, or another version wrote it.
    """
    data = run.read_file(file(_FILE))
    if data is None:
        return None
    try:
        table = json.loads(data)
        return State(**{**table, "submitted": Submission(**table["submitted"])})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ShardError(f"cannot read {run.location}/{file(_FILE)}: {error!r}; remove it and run again") from error


def save(run: RunFolder, state: State) -> None:
    """Write the state."""
    run.write_file(file(_FILE), json.dumps(dataclasses.asdict(state), indent=1).encode())


def end(run: RunFolder, reason: str) -> None:
    """Record why nothing more is submitted."""
    state = load(run)
    if state is not None:
        save(run, dataclasses.replace(state, ended=reason))


def clear(run: RunFolder) -> None:
    """Forget what was submitted."""
    run.remove_file(file(_FILE))


@contextlib.contextmanager
def ended_by_errors(run: RunFolder) -> Iterator[None]:
    """Record an error of the block as the reason why nothing more is submitted."""
    try:
        yield
    except XInstructionError as error:
        end(run, str(error))
        raise
