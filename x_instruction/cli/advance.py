"""``x-instruction advance``."""

from __future__ import annotations

import click

from x_instruction.cli.wrapping import echo


@click.command()
@click.argument("location")
def command(location: str) -> None:
    """Submit what comes next in a run that `run --on` started.

    The scheduler runs this command after each array; you need it only if that job was lost. LOCATION is the run folder.
    It submits the shards that are missing, or those of the next stage. It does nothing while elements are at work.
    """
    from x_instruction.pipeline.detached.advance import advance
    from x_instruction.pipeline.progress import shown

    display = shown()
    try:
        state = advance(location, display)
    finally:
        display.close()
    echo(f"{location}: {state.ended or state.summary()}")
