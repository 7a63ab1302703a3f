"""``x-instruction eval rate``: which of two systems people prefer."""

import click

from x_instruction.cli.groups import CommandGroup


@click.group(cls=CommandGroup, package=__name__, sections={"Commands": ["make", "collect"]})
def command() -> None:
    """Let people compare two systems, blind and offline."""
