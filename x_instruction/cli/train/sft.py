"""``x-instruction train sft``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import out_option, read_sets, set_option


@click.command()
@click.argument("recipe")
@click.argument("data", nargs=-1, required=True)
@out_option("Folder of the model", "models/NAME")
@set_option("train.steps=100")
def command(recipe: str, data: tuple[str, ...], out: Path | None, sets: tuple[str, ...]) -> None:
    """Fine-tune a model on DATA (supervised).

    RECIPE names the base model and how it is trained. The loss is on responses only.

    RECIPE is a file, or the name of a training recipe that ships: see `x-instruction recipe list`.

    DATA is a folder that `mix` or `build` wrote, or a file of instructions. TAG=PATH sets the language of the responses
    if the rows do not state it.

    If interrupted, rerun the same command to continue from the last checkpoint. Evaluate the model with `x-instruction
    eval held-out`, publish it with `x-instruction hub push-model`.
    """
    from x_instruction.api import train
    from x_instruction.config.training import load

    settings = load(recipe, read_sets(sets))
    target = out or Path("models") / settings.name
    kept(f"checkpoints of {target} are kept; rerun the same command to continue from the last one")
    result = train(settings, data, target, log=lambda text: click.echo(text, err=True))
    lengths = result.lengths
    spread = ", ".join(f"{share} % up to {tokens:,}" for share, tokens in lengths["percentiles"].items())
    cut = lengths["truncated"] / max(1, lengths["rows"])
    click.echo(f"tokens per row: {spread}", err=True)
    click.echo(
        f"truncated at {lengths['max_tokens']:,}: {cut:.1%} of the rows; dropped: {lengths['dropped']:,}", err=True
    )
    click.echo(
        f"{target}: {result.steps:,} steps, {result.tokens:,} tokens, {result.seconds:,.0f} s "
        f"({result.tokens / max(result.seconds, 1e-9):,.0f} tokens/s), loss {result.loss:.3f}"
    )
