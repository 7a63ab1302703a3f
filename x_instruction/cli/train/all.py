"""``x-instruction train all``."""

from __future__ import annotations

from typing import Any

import click

from x_instruction.cli.train.roles import role_options, train_roles


@click.command()
@role_options
def command(**arguments: Any) -> None:
    """Train the generator and the rater of RECIPE.

    RECIPE is a file, or the name of a recipe that ships: see `x-instruction recipe list`.

    Does what `train generator` and `train rater` do, for those that RECIPE has a section for.
    """
    train_roles(("generator", "rater"), **arguments)
