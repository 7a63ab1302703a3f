"""The job that runs after an array: it coordinates again."""

from __future__ import annotations

import time

from x_instruction.config import recipe
from x_instruction.errors import ShardError
from x_instruction.pipeline.detached import pool
from x_instruction.pipeline.detached import state as states
from x_instruction.pipeline.detached.state import State
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import Progress
from x_instruction.storage.location import open_run
from x_instruction.storage.lock import STALE, RunBusy

# Seconds to wait for another coordinator, and between two looks.
_PATIENCE = STALE + 60.0
_PAUSE = 2.0


def advance(location: str, progress: Progress) -> State:
    """Finish what the last array made, and submit what is missing or what is next.

    Does nothing while elements are at work, or when the run has ended.

    Args:
        location: the run.
        progress: receives what happens.

    Returns:
        The state of the run.

    Raises:
        ShardError: nothing was ever submitted.
        XInstructionError: the run cannot continue. The reason is also kept in the run folder.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return _advance(location, progress)
        except RunBusy:
            # The coordinator that submitted the array may not have ended yet, or have been killed on its machine.
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)


def _advance(location: str, progress: Progress) -> State:
    run = open_run(location)
    state = states.load(run)
    if state is None:
        raise ShardError(f"nothing was submitted in {location}: start with `x-instruction run RECIPE --on slurm`")
    if state.ended or pool.at_work(state):
        return state
    settings = recipe.of_run(run.location, run.read_file("recipe.json"))
    execute(settings, run.location, 0, state.overwrite, state.until, progress, on=state.on, advancing=state)
    found = states.load(run)
    assert found is not None
    return found


def follow(location: str, progress: Progress) -> State:
    """Wait for what was submitted and advance, until the run has ended.

    Nothing is lost if this is interrupted: the elements continue, and ``advance`` takes over.

    Args:
        location: the run.
        progress: receives what happens.

    Returns:
        The state of the run, which has ended.

    Raises:
        XInstructionError: the run cannot continue. The reason is also kept in the run folder.
    """
    state = states.load(open_run(location))
    assert state is not None
    while not state.ended:
        progress.say(f"submitted {state.summary()}")
        pool.wait(state)
        state = advance(location, progress)
    return state
