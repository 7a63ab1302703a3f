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
    from x_instruction.config.training import load
    from x_instruction.errors import CorpusError
    from x_instruction.mixing.files import sources
    from x_instruction.training.sft import read, tune

    settings = load(recipe, read_sets(sets))
    files = [source for name in data for source in sources(name, "web")]
    if not files:
        raise CorpusError("nothing to train on: name files or folders after the recipe")
    found = read(files)
    for reason, number in sorted(found.dropped.items()):
        click.echo(f"dropped  {reason:24} {number:9,}", err=True)
    target = out or Path("models") / settings.name
    kept(f"checkpoints of {target} are kept; rerun the same command to continue from the last one")
    click.echo(f"{len(found.pairs):,} rows, {settings.model.name}, {settings.train.method}", err=True)
    tuned = tune(settings, found, target, lambda text: click.echo(text, err=True))
    lengths = tuned.lengths
    spread = ", ".join(f"{share} % up to {tokens:,}" for share, tokens in lengths["percentiles"].items())
    cut = lengths["truncated"] / max(1, lengths["rows"])
    click.echo(f"tokens per row: {spread}", err=True)
    click.echo(
        f"truncated at {lengths['max_tokens']:,}: {cut:.1%} of the rows; dropped: {lengths['dropped']:,}", err=True
    )
    click.echo(
        f"{target}: {tuned.steps:,} steps, {tuned.tokens:,} tokens, {tuned.seconds:,.0f} s "
        f"({tuned.tokens / max(tuned.seconds, 1e-9):,.0f} tokens/s), loss {tuned.loss:.3f}"
    )
