"""What a command prints when it is interrupted."""

from __future__ import annotations

import click

_KEY = "x_instruction.kept"


def kept(text: str) -> None:
    """State what the running command keeps if the user interrupts it.

    Args:
        text: a clause such as ``finished shards are kept in runs/demo; rerun the same command to continue``.
    """
    click.get_current_context().meta[_KEY] = text


def interrupted(ctx: click.Context) -> str:
    """The line to print after an interrupt."""
    return f"interrupted: {ctx.meta.get(_KEY, 'rerun the same command to start again')}"
