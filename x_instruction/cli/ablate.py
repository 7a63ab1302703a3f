"""``x-instruction ablate``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from x_instruction.cli.options import read_recipe, recipe_options

_STUDIES = ("refinement", "diversification", "rounds", "raters", "selectors")


@click.command()
@click.argument("recipe")
@click.argument("study", type=click.Choice(_STUDIES))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the runs.  [default: runs/NAME-STUDY]")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes; 0 is one per GPU, or one per core.")
@click.option("--redo", is_flag=True, help="Make shards again that were made under other settings.")
@recipe_options
def command(
    recipe: str,
    study: str,
    out: Path | None,
    workers: int,
    redo: bool,
    languages: str | None,
    limit: int | None,
    sets: tuple[str, ...],
) -> None:
    """Run RECIPE with one thing changed at a time, and set side by side what comes of it.

    Every variant is a run in a folder of its own, to `show`, `build` and tune on; what it has in common with the first
    one is made once. Killed at any moment, the same command goes on.
    """
    from x_instruction.experiments.ablation import ablate
    from x_instruction.pipeline.execute import default_workers
    from x_instruction.pipeline.progress import shown

    settings = read_recipe(recipe, languages, limit, sets)
    root = out or Path("runs") / f"{settings.name}-{study}"
    # A live display sends what is printed to its own stream; a table that goes into a file must still go there.
    table = None if sys.stdout.isatty() else sys.stdout
    click.echo(f"{'variant':20} {'passages':>9} {'kept':>9} {'curated':>9} {'score':>9} {'distinct':>9}  folder")
    progress = shown()
    try:
        for one in ablate(settings, study, root, workers or default_workers(settings), redo, progress):
            counts = f"{one.passages:>9,} {one.kept:>9,} {one.curated:>9,}"
            click.echo(f"{one.variant:20} {counts} {one.score:>9.3f} {one.distinct:>9.3f}  {one.folder}", file=table)
    finally:
        progress.close()
