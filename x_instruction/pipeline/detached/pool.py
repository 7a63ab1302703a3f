"""The pool of a detached run: it submits the tasks of the first stage that has any, and ends the command."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from x_instruction.config.recipe import Recipe
from x_instruction.engines import engine_spec, keys
from x_instruction.errors import EngineError, RecipeError, ShardError
from x_instruction.pipeline.detached import Array, Scheduler, Submission, Work, record
from x_instruction.pipeline.detached import state as states
from x_instruction.pipeline.detached.attempts import attempts, died_of, forget
from x_instruction.pipeline.detached.state import State
from x_instruction.pipeline.executors import MOST_DEATHS, OnDone, OnProgress, OnSetAside
from x_instruction.pipeline.models import Models
from x_instruction.pipeline.rounds import model_of, stages
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.run_folder import RunFolder, file_name
from x_instruction.storage.shard_key import CURATED, PASSAGE, SLICE, StageKey

# Arrays in a row that make nothing, before no other is submitted.
MOST_IDLE = 3
# Seconds between questions to a scheduler that does not advance runs by itself: at first, and at most.
_POLLS = (1.0, 15.0)
# Questions in a row without an answer, before the error is raised: about 90 seconds.
_MOST_SILENT = 12


class Submitted(Exception):
    """Tasks were submitted. What follows is known when they are complete."""


class DetachedPool:
    """Submits tasks instead of running them.

    Args:
        run: the run folder.
        settings: the recipe.
        state: the state before. If it has not begun, tasks that were set aside are tried again.
    """

    def __init__(self, run: RunFolder, settings: Recipe, state: State) -> None:
        self.run_folder = run
        self.recipe = settings
        self.state = state
        self.scheduler: Scheduler = state.scheduler()

    def run(
        self, tasks: Sequence[ShardTask], on_progress: OnProgress, on_done: OnDone, on_set_aside: OnSetAside
    ) -> None:
        """Submit the tasks. Those that were set aside by this run are left out.

        Raises:
            Submitted: there were any.
        """
        left, stage = [], tasks[0].key.stage_key
        failures = dict(self.run_folder.failures(stage))
        repeated = self.state.begun and self.state.stage_key == stage
        for task in tasks:
            tries = attempts(self.run_folder, task.key) if repeated else 0
            if failure := failures.get(task.key):
                on_set_aside(task, failure.reason, failure.attempts)
            elif tries >= MOST_DEATHS:
                on_set_aside(task, died_of(tries), tries)
            else:
                left.append(task)
        if left:
            scratch = str(self.state.site.get("scratch", ""))
            self._submit(Work(self.recipe, stage, left, server=self.scheduler.server(stage), scratch=scratch))

    def train(self, models: Models, role: str, stage: StageKey) -> None:
        """Submit the training of the models that a stage asks, unless they are complete.

        Raises:
            Submitted: a model is missing.
        """
        if models.missing(role, stage.round):
            self._submit(Work(self.recipe, stage, (), role))

    def shutdown(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> DetachedPool:
        if not self.state.begun:
            for stage in (SLICE, *stages(self.recipe)):
                for key, _ in list(self.run_folder.failures(stage)):
                    self.run_folder.remove_file(file_name(key, ".failed.json"))
                    forget(self.run_folder, key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            states.save(self.run_folder, dataclasses.replace(self.state, ended=states.COMPLETE))
        return isinstance(error, Submitted)

    def _submit(self, work: Work) -> None:
        before, number = self.state, self.state.number + 1
        same = (before.stage_key, before.role) == (work.stage, work.role)
        # A stage has more tasks than before only if some were made: of slices of a corpus, more follow.
        idle = before.idle + 1 if before.begun and same and len(work.tasks) == before.tasks else 0
        if idle >= MOST_IDLE:
            raise EngineError(
                f"{MOST_IDLE} arrays in a row made nothing "
                f"({record.last_error(self.run_folder, before.number) or 'no error is kept'}): logs are in "
                f"{log_folder(self.run_folder)}; rerun the same command to try again"
            )
        array = array_of(self.run_folder, work, number, self.scheduler)
        record.forget(self.run_folder, number)
        self.run_folder.write_file(array.tasks, work.dumps())
        self.state = dataclasses.replace(
            before,
            number=number,
            begun=True,
            stage=work.stage.stage,
            round=work.stage.round,
            role=work.role,
            elements=array.elements,
            tasks=len(work.tasks),
            submitted=Submission(()),
            idle=idle,
        )
        # Before and after: if this process is killed in between, the array is still advanced.
        states.save(self.run_folder, self.state)
        self.state = dataclasses.replace(self.state, submitted=self.scheduler.submit(array))
        states.save(self.run_folder, self.state)
        raise Submitted


def array_of(run: RunFolder, work: Work, number: int, scheduler: Scheduler) -> Array:
    """The array for some work.

    Args:
        run: the run folder.
        work: what is to be made.
        number: of its file of tasks.
        scheduler: which it is for.
    """
    elements = max(1, -(-len(work.tasks) // scheduler.per_element))
    model = model_of(work.recipe, work.stage)
    remote = model is not None and engine_spec(model).remote
    needs_gpu = bool(work.role or work.server) or not (work.stage in (SLICE, PASSAGE) or remote)
    name = f"{work.recipe.name}-{work.role or work.stage.stage}-{work.stage.round}"
    return Array(
        absolute(run),
        states.file(f"{number}.json"),
        re.sub(r"[^\w.-]+", "-", name),
        elements,
        needs_gpu,
        tuple(sorted(keys.needed(work.recipe.models))),
        any(each.engine == "vllm" or each.device.startswith("cuda") for each in work.recipe.models),
        str(log_folder(run)),
    )


def absolute(run: RunFolder) -> str:
    """The location of a run for processes in other folders."""
    return run.location if run.on_store else str(Path(run.location).absolute())


def log_folder(run: RunFolder) -> Path:
    """Where elements write their logs: in the run folder, or in the working folder if the run is on a store."""
    return Path.cwd() / "logs" if run.on_store else Path(absolute(run)) / states.file("logs")


def begin(run: RunFolder, settings: Recipe, state: State) -> State:
    """Check a new detached run before any work.

    Args:
        run: the run folder.
        settings: the recipe.
        state: the state to begin with.

    Raises:
        RecipeError: a setting of the site is not possible.
        EngineError: the scheduler does not answer, or is not installed.
    """
    scheduler = state.scheduler()
    for stage in (PASSAGE, CURATED):
        scheduler.check(array_of(run, Work(settings, stage, ()), 1, scheduler))
    before = states.load(run)
    return state if before is None else dataclasses.replace(state, number=before.number)


def check_no_elements(run: RunFolder) -> None:
    """Refuse to work beside elements that make the same run. Forget those that have ended.

    Raises:
        ShardError: some have not ended.
    """
    state = states.load(run)
    if state is None:
        return
    place = run.location
    try:
        at_work = not state.ended and state.scheduler().states(state.submitted)
    except EngineError as error:
        raise ShardError(
            f"elements on {state.on} may make {place}: {error}; if none does, remove "
            f"{place}/{states.file('state.json')}"
        ) from error
    if at_work:
        raise ShardError(
            f"elements on {state.on} make {place}: wait until they end (`x-instruction status {place}`), or cancel "
            f"them (`x-instruction cancel {place}`)"
        )


def wait(state: State) -> None:
    """Wait until all elements have ended, for a scheduler that does not advance runs by itself."""
    delay, longest = _POLLS
    while at_work(state):
        time.sleep(delay)
        delay = min(delay * 1.5, longest)


def at_work(state: State) -> bool:
    """Whether elements have not ended. A run of days must not end because the scheduler is busy for a moment.

    Raises:
        EngineError: the scheduler does not answer, also when it is asked again.
    """
    scheduler, (delay, longest) = state.scheduler(), _POLLS
    for _ in range(_MOST_SILENT - 1):
        try:
            return bool(scheduler.states(state.submitted))
        except EngineError:
            time.sleep(delay)
            delay = min(delay * 1.5, longest)
    return bool(scheduler.states(state.submitted))


def check_options(on: str, given: dict[str, bool]) -> None:
    """Refuse options that need all shards in one place.

    Args:
        on: the place, as typed.
        given: options to whether they were given.

    Raises:
        RecipeError: one was given.
    """
    names = [name for name, is_given in given.items() if is_given]
    if names:
        raise RecipeError(f"{' and '.join(names)} cannot be combined with --on {on}: leave it out")
