"""``x-instruction train generator``."""

from __future__ import annotations

from typing import Any

import click

from x_instruction.cli.train.roles import role_options, train_roles


@click.command()
@role_options
def command(**arguments: Any) -> None:
    """Train the generator of RECIPE on its seeds.

    RECIPE is a file, or the name of a recipe that ships: see `x-instruction recipe list`.

    Does what `run` does before it generates. The adapter is written to OUT/models; other recipes use it as
    generate.model.adapter.

    If interrupted, rerun the same command to continue from the last checkpoint.
    """
    train_roles(("generator",), **arguments)
