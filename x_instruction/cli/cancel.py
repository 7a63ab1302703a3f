"""``x-instruction cancel``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import Location
from x_instruction.cli.wrapping import echo
from x_instruction.errors import RecipeError


@click.command()
@click.argument("folder", type=Location())
def command(folder: str | Path) -> None:
    """Cancel what `run --on` submitted for the run in FOLDER.

    Complete shards and answers are kept. Run the recipe again to continue.
    """
    from x_instruction.pipeline.detached import state as states
    from x_instruction.storage.location import open_run

    run = open_run(folder)
    state = states.load(run)
    if state is None:
        raise RecipeError(f"nothing was submitted in {folder}")
    if state.ended:
        echo(f"nothing to cancel in {folder}: {state.ended}")
        return
    # A process that submits at this moment would continue the run.
    with run.lock():
        state = states.load(run) or state
        state.scheduler().cancel(state.submitted)
        states.end(run, states.CANCELLED)
    echo(f"cancelled {state.summary()}: finished shards and answers are kept in {folder}; run again to continue")
