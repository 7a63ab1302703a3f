"""``x-instruction experiment``: several runs or trainings, side by side."""

import click

from x_instruction.cli.groups import CommandGroup


@click.group(cls=CommandGroup, package=__name__, sections={"Commands": ["run", "show", "ablate", "scaling"]})
def command() -> None:
    """Test claims, run ablations, fit data-scaling curves."""
