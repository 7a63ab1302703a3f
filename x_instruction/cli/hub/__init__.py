"""``x-instruction hub``: publishing, and a Hub on one machine."""

import click

from x_instruction.cli.groups import CommandGroup


@click.group(cls=CommandGroup, package=__name__, sections={"Commands": ["push-dataset", "push-model", "serve"]})
def command() -> None:
    """Publish data sets and models, or serve a local Hub."""
