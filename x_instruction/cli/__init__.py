"""The command line: a module per command, a package per group, imported when used."""

from __future__ import annotations

import logging
import sys

import click

from x_instruction import __version__
from x_instruction.cli.groups import CommandGroup
from x_instruction.cli.interrupt import catch_signals
from x_instruction.cli.options import message
from x_instruction.cli.wrapping import WrappingHandler, echo
from x_instruction.errors import XInstructionError

# Sections of the help and their commands, in the order of the work.
SECTIONS = {
    "Make data": ["languages", "preview", "run", "batch", "status", "show", "review", "build", "report", "export"],
    "Scale out": ["plan", "cancel", "work", "advance"],
    "Train and evaluate models": ["seeds", "mix", "train", "eval", "experiment"],
    "Share": ["hub"],
    "Look up": ["recipe", "engine"],
}
# Commands of earlier versions.
MOVED = {
    "ablate": ["experiment ablate"],
    "engines": ["engine list", "engine check"],
    "heldout": ["eval held-out"],
    "local-hub": ["hub serve"],
    "models": ["train all"],
    "publish": ["hub push-dataset"],
    "push-model": ["hub push-model"],
    "rater": ["seeds labels", "eval raters"],
    "recipes": ["recipe list", "recipe show"],
    "representations": ["eval representations"],
    "size-curve": ["experiment scaling"],
    "translate": ["seeds translate"],
    "tune": ["train sft"],
}


@click.group(cls=CommandGroup, package=__name__, sections=SECTIONS, moved=MOVED)
@click.version_option(__version__, prog_name="x-instruction")
def cli() -> None:
    """Cross-lingual instruction data for any language.

    Turns passages of a language into pairs of an English instruction and a natural response: rated, diverse, and
    loadable as a data set with one config per language.
    """


def main() -> None:
    """Entry point.

    An error of the package is one line and exit code 1. Any other exception is a defect and keeps its traceback.
    """
    logging.basicConfig(format="%(message)s", handlers=[WrappingHandler()])
    logging.getLogger("x_instruction").setLevel(logging.INFO)
    catch_signals()
    try:
        cli(prog_name="x-instruction")
    except XInstructionError as error:
        echo(f"error: {message(error, sys.argv[1:])}", err=True)
        sys.exit(1)
