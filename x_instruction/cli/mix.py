"""``x-instruction mix``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import read_sets


@click.command()
@click.argument("recipe", required=False)
@click.argument("data", nargs=-1)
@click.option(
    "--seeds",
    multiple=True,
    metavar="DATA",
    help="Seed pairs, trusted ones: Humpback and X-Instruction tag them apart from DATA.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the mix.  [default: mixes/NAME]")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a recipe key, as pinch.k_examples=40.")
def command(
    recipe: str | None, data: tuple[str, ...], seeds: tuple[str, ...], out: Path | None, sets: tuple[str, ...]
) -> None:
    """Mix DATA into prompts and completions to tune on, as RECIPE declares; without RECIPE, list those that ship.

    DATA is a folder that `build` wrote, or a file of instructions (.jsonl, .json, .parquet); TAG=PATH says the language
    of its responses where its rows do not. Rows of several languages that say the same share their id.
    """
    from x_instruction.config.mixing import load, names
    from x_instruction.errors import CorpusError
    from x_instruction.mixing.files import sources, write

    if recipe is None:
        for name in names():
            known = load(name)
            click.echo(f"{name:24} {', '.join(known.sections()):16} {' '.join(known.languages)}")
        return
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
            click.echo(f"{title:8} {name:24} {count:9,}", err=True)
    for name, text in report["inference"].items():
        click.echo(f"ask      {name:24} {text}", err=True)
    if missing := report["without_rows"]:
        click.echo(f"warning: no row in {', '.join(missing)}, which the recipe names", err=True)
    click.echo(f"{target}: {report['rows']:,} rows of {report['items']:,} items")
