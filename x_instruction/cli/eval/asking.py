"""What the commands share that ask a model outside of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.options import read_sets

if TYPE_CHECKING:
    from x_instruction.config.model import Model


def budget_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--budget``: the most that requests may cost."""
    return click.option(
        "--budget",
        type=float,
        metavar="AMOUNT",
        help="Stop when this much is spent, at the prices of server.prompt_price and server.output_price.",
    )(command)


def lid_model_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--lid-model``: the identifier of languages that the built-in one does not know."""
    text = "fastText model for languages that the built-in identifier does not know."
    return click.option("--lid-model", metavar="FILE", help=text)(command)


def record_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--record``: where the figures are written as a record."""
    text = "Folder for a record of the figures, for `eval compare` and model cards."
    return click.option("--record", type=click.Path(path_type=Path), metavar="FOLDER", help=text)(command)


def model_settings(name: str, adapter: str | None, sets: tuple[str, ...]) -> Model:
    """The model of a command's arguments.

    Raises:
        RecipeError: an unknown key, or an engine that does not answer at once.
    """
    from x_instruction.config.model import Model
    from x_instruction.config.section import validate
    from x_instruction.engines import keys
    from x_instruction.errors import RecipeError

    overrides = {"name": name, **read_sets(sets)}
    if adapter is not None:
        overrides["adapter"] = adapter
    settings = validate(Model, {}, overrides)
    # Typed on the command line, and not taken from a recipe.
    keys.allow([settings.server.key_variable])
    if settings.engine == "batch":
        raise RecipeError('engine is "batch", expected an engine that answers at once, such as openai')
    return settings


def progress() -> Callable[[int, int], None]:
    """A line that counts requests, if standard error is a terminal."""
    # The terminal of now: lm-evaluation-harness is silenced by replacing sys.stderr.
    stream = sys.stderr

    def count(done: int, known: int) -> None:
        click.echo(f"\r{done:,} of {known:,} requests", stream, nl=done == known)

    return count if stream.isatty() else lambda done, known: None
