"""``x-instruction eval``: how good models and raters are."""

import click

from x_instruction.cli.groups import CommandGroup


@click.group(
    cls=CommandGroup,
    package=__name__,
    sections={
        "Commands": [
            "held-out",
            "benchmarks",
            "language",
            "representations",
            "raters",
            "answers",
            "judge",
            "judge-passport",
            "rate",
            "compare",
        ]
    },
)
def command() -> None:
    """Evaluate models and raters, and compare their results."""
