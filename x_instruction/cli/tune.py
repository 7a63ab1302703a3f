"""``x-instruction tune``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import read_sets


@click.command()
@click.argument("recipe", required=False)
@click.argument("data", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the model.  [default: models/NAME]")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a recipe key, as tune.steps=100.")
def command(recipe: str | None, data: tuple[str, ...], out: Path | None, sets: tuple[str, ...]) -> None:
    """Tune a model on DATA as RECIPE says; without RECIPE, list those that ship.

    DATA is what `mix`, `build` or `seeds` wrote, or any file of instructions; TAG=PATH says the language of its
    responses where its rows do not. The loss is on responses alone. Killed at any moment, the same command goes on
    from the last checkpoint. The tags of a mix to ask with go into the model's tuned.json, where `heldout` finds them.
    `push-model` publishes what comes of it, `heldout` measures it.
    """
    from x_instruction.config.training import load, names
    from x_instruction.errors import CorpusError
    from x_instruction.mixing.files import sources
    from x_instruction.training.sft import read, tune

    if recipe is None:
        for name in names():
            known = load(name)
            click.echo(f"{name:16} {known.tune.method:6} {known.model.name}")
        return
    settings = load(recipe, read_sets(sets))
    files = [source for name in data for source in sources(name, "web")]
    if not files:
        raise CorpusError("nothing to tune on: name files or folders after the recipe")
    found = read(files)
    for reason, number in sorted(found.dropped.items()):
        click.echo(f"dropped  {reason:24} {number:9,}", err=True)
    target = out or Path("models") / settings.name
    click.echo(f"{len(found.pairs):,} rows, {settings.model.name}, {settings.tune.method}", err=True)
    tuned = tune(settings, found, target, lambda text: click.echo(text, err=True))
    lengths = tuned.lengths
    spread = ", ".join(f"{share} % up to {tokens:,}" for share, tokens in lengths["percentiles"].items())
    cut = lengths["truncated"] / max(1, lengths["rows"])
    click.echo(f"tokens of a row: {spread}", err=True)
    click.echo(f"cut at {lengths['max_tokens']:,}: {cut:.1%} of the rows; left out: {lengths['dropped']:,}", err=True)
    click.echo(
        f"{target}: {tuned.steps:,} steps, {tuned.tokens:,} tokens, {tuned.seconds:,.0f} s "
        f"({tuned.tokens / max(tuned.seconds, 1e-9):,.0f} tokens/s), loss {tuned.loss:.3f}"
    )
