"""``x-instruction mix``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import out_option, read_sets, set_option
from x_instruction.terminal import plain


@click.command()
@click.argument("recipe")
@click.argument("data", nargs=-1)
@click.option(
    "--seeds", multiple=True, metavar="DATA", help="Seed pairs, which Humpback and X-Instruction tag. Repeatable."
)
@out_option("Folder of the mix", "mixes/NAME")
@set_option("pinch.k_examples=40")
def command(
    recipe: str, data: tuple[str, ...], seeds: tuple[str, ...], out: Path | None, sets: tuple[str, ...]
) -> None:
    """Mix DATA into prompts and completions to train on.

    RECIPE is a file, or the name of a mixing recipe that ships: see `x-instruction recipe list`.

    DATA is a folder that `build` wrote, or a file of instructions (.jsonl, .json, .parquet). TAG=PATH sets the language
    of the responses if the rows do not state it. Translations of one row share its id.
    """
    from x_instruction.config.mixing import load
    from x_instruction.errors import CorpusError
    from x_instruction.mixing.files import sources, write

    mixing = load(recipe, read_sets(sets))
    files = [source for name in data for source in sources(name, "web")]
    files += [source for name in seeds for source in sources(name, "seed")]
    if not files:
        raise CorpusError("nothing to mix: name files or folders after the recipe, or with --seeds")
    target = out or Path("mixes") / mixing.name
    report = write(mixing, files, target)
    for title, counts in (
        ("dropped", report["dropped"]),
        ("rows", report["by_shape"]),
        ("rows", report["by_language"]),
    ):
        for name, count in counts.items():
            click.echo(plain(f"{title:8} {name:24} {count:9,}"), err=True)
    for name, text in report["inference"].items():
        click.echo(f"ask      {name:24} {text}", err=True)
    if missing := report["without_rows"]:
        click.echo(f"warning: no rows in {', '.join(missing)}, which the recipe names", err=True)
    click.echo(f"{target}: {report['rows']:,} rows of {report['items']:,} items")
