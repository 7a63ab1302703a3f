"""``x-instruction train``: models of a recipe, and models on its data."""

import click

from x_instruction.cli.groups import CommandGroup


@click.group(cls=CommandGroup, package=__name__, sections={"Commands": ["generator", "rater", "all", "sft", "quality"]})
def command() -> None:
    """Train models of a recipe, or fine-tune a model on data."""
