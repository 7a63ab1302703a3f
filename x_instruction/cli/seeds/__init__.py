"""``x-instruction seeds``: the pairs that generators and raters learn from."""

import click

from x_instruction.cli.groups import CommandGroup


@click.group(cls=CommandGroup, package=__name__, sections={"Commands": ["collect", "translate", "labels", "rewrite"]})
def command() -> None:
    """Collect, translate, label and rewrite pairs."""
