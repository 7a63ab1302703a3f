"""``x-instruction recipes``."""

import click

from x_instruction.config.recipe import dumps, load, names, text_of


@click.command()
@click.argument("name", required=False)
@click.option("--toml", is_flag=True, help="Show NAME as it ships, to start a file of your own from.")
def command(name: str | None, toml: bool) -> None:
    """List the recipes that ship with the package, or show NAME with every default written out, as JSON."""
    if name is not None:
        recipe = load(name)
        click.echo(text_of(name) if toml else dumps(recipe), nl=not toml)
        return
    for known in names():
        recipe = load(known)
        click.echo(f"{known:16} {recipe.corpus.source:7} {recipe.generate.model.name:24} {' '.join(recipe.languages)}")
