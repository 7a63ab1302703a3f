"""The command line: one command, a file per verb, loaded when used."""

from __future__ import annotations

import importlib
import logging
import sys

import click

from x_instruction import __version__
from x_instruction.errors import XInstructionError

# Verb to its module, in the order of the work.
VERBS = {
    "recipes": "x_instruction.cli.recipes",
    "languages": "x_instruction.cli.languages",
    "engines": "x_instruction.cli.engines",
    "seeds": "x_instruction.cli.seeds",
    "translate": "x_instruction.cli.translate",
    "rater": "x_instruction.cli.rater",
    "models": "x_instruction.cli.models",
    "run": "x_instruction.cli.run",
    "ablate": "x_instruction.cli.ablate",
    "batch": "x_instruction.cli.batch",
    "status": "x_instruction.cli.status",
    "show": "x_instruction.cli.show",
    "build": "x_instruction.cli.build",
    "mix": "x_instruction.cli.mix",
    "tune": "x_instruction.cli.tune",
    "size-curve": "x_instruction.cli.size_curve",
    "representations": "x_instruction.cli.representations",
    "heldout": "x_instruction.cli.heldout",
    "export": "x_instruction.cli.export",
    "publish": "x_instruction.cli.publish",
    "push-model": "x_instruction.cli.push_model",
    "local-hub": "x_instruction.cli.local_hub",
}


class Verbs(click.Group):
    """Imports a verb's module only when it is called or described."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None when there is no such verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(VERBS[cmd_name]).command
        return command


@click.group(cls=Verbs)
@click.version_option(__version__, prog_name="x-instruction")
def cli() -> None:
    """Cross-lingual instruction data for any language.

    Passages of a language go in; pairs of an English instruction and a natural response come out, rated, diverse and
    loadable as a data set with one config per language.
    """


def main() -> None:
    """Entry point: an error of ours is one line and exit code 1; anything else is a defect and keeps its traceback."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("x_instruction").setLevel(logging.INFO)
    try:
        cli()
    except XInstructionError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
