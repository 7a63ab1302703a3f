"""``x-instruction recipes``."""

import click

from x_instruction.recipe import dumps, load, names


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the recipes that ship with the package, or show NAME with every default written out."""
    if name is not None:
        click.echo(dumps(load(name)))
        return
    for known in names():
        recipe = load(known)
        click.echo(f"{known:16} {recipe.corpus.source:7} {recipe.generate.model.name:24} {' '.join(recipe.languages)}")
