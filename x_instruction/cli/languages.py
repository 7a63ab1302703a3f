"""``x-instruction languages``."""

import click

from x_instruction.languages import PAPER_LANGUAGES, language


@click.command()
@click.argument("tags", nargs=-1)
def command(tags: tuple[str, ...]) -> None:
    """Show what is known of languages: TAGS, or the ten of the paper."""
    for tag in tags or PAPER_LANGUAGES:
        found = language(tag)
        click.echo(f"{found.tag:8} {found.code:10} {found.name:24} {found.native_name:20} {' '.join(found.aliases)}")
