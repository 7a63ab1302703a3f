"""``x-instruction review``: what native speakers think of the pairs of a run."""

import click

from x_instruction.cli.groups import CommandGroup


@click.group(cls=CommandGroup, package=__name__, sections={"Commands": ["make", "collect"]})
def command() -> None:
    """Let native speakers review pairs, on pages that work offline."""
