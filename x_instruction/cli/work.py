"""``x-instruction work``."""

from __future__ import annotations

import signal
import sys

import click

from x_instruction.cli.wrapping import echo


@click.command()
@click.argument("location")
@click.option("--tasks", required=True, metavar="FILE", help="File of tasks, relative to LOCATION.")
@click.option("--rank", type=int, required=True, metavar="N", help="Which part of the tasks to make, from 0.")
@click.option("--of", type=int, required=True, metavar="N", help="Number of parts.")
@click.option("--requeue", is_flag=True, help="On SIGUSR1, requeue this element of a Slurm array.")
def command(location: str, tasks: str, rank: int, of: int, requeue: bool) -> None:
    """Make one part of the shards that `run --on` submitted.

    The elements of an array run this command; you need it only to make a part by hand. LOCATION is the run folder.

    It loads a model once for all shards of the part. SIGUSR1 and SIGTERM save the answers so far and end it. The exit
    code is 0 also if a shard was set aside, and 3 if LOCATION is not shared with this machine.
    """
    from x_instruction.pipeline.detached.work import NotShared, make

    try:
        received = make(location, tasks, rank, of)
    except NotShared as error:
        echo(f"error: {error}", err=True)
        sys.exit(3)
    if not received:
        return
    echo(f"ended by {signal.Signals(received).name}: answers are kept", err=True)
    if requeue and received == signal.SIGUSR1:
        from x_instruction.pipeline.detached.slurm import requeue as back

        refusal = back()
        if refusal:
            echo(f"not requeued: {refusal}; what is left is submitted again after the array", err=True)
    sys.exit(128 + received)
