"""The state of a detached run in a few lines."""

from __future__ import annotations

from x_instruction.errors import EngineError, ShardError
from x_instruction.pipeline.detached import Work
from x_instruction.pipeline.detached import state as states
from x_instruction.pipeline.detached.record import seen
from x_instruction.pipeline.detached.state import State
from x_instruction.storage.run_folder import RunFolder


def lines(run: RunFolder, state: State) -> list[str]:
    """What was submitted last, how far it is, and why the run stopped."""
    if not state.begun:
        return []
    shown = [state.summary(), *_tasks(run, state)]
    if state.ended:
        return [*shown, f"{state.on}: {state.ended}"]
    try:
        counts = state.scheduler().states(state.submitted)
    except EngineError as error:
        return [*shown, f"{state.on}: {error}"]
    if counts:
        return [*shown, f"{state.on}: " + ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items()))]
    ended = f"{state.on}: every element has ended"
    if not seen(run, state.number):
        return [*shown, f"{ended}, and none has read {run.location}: is it a folder that all nodes share?"]
    return [*shown, f"{ended}; `x-instruction advance {run.location}` submits what is next"]


def _tasks(run: RunFolder, state: State) -> list[str]:
    """How many tasks of the last array are made."""
    name = states.file(f"{state.number}.json")
    try:
        tasks = Work.loads(run.read_file(name) or b"", name).tasks
    except ShardError as error:
        return [str(error)]
    return [f"made so far: {sum(run.complete(task.key) for task in tasks):,} of {len(tasks):,}"] if tasks else []
