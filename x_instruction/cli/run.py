"""``x-instruction run``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import read_recipe, recipe_options


@click.command()
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/<name of the recipe>]")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes; 0 is one per GPU, or one per core.")
@click.option("--until", type=click.Choice(["corpus", "generate", "refine", "diversify"]), default="diversify")
@click.option("--redo", is_flag=True, help="Make shards again that were made under other settings.")
@click.option("--retry-failed", is_flag=True, help="Ask again for records that an engine failed on.")
@click.option("--budget", type=float, metavar="AMOUNT", help="Stop when this much is spent, by the recipe's prices.")
@click.option("--dry-run", is_flag=True, help="Estimate rows, requests, tokens and time from a small probe, and stop.")
@recipe_options
def command(
    recipe: str,
    out: Path | None,
    workers: int,
    until: str,
    redo: bool,
    retry_failed: bool,
    budget: float | None,
    dry_run: bool,
    languages: str | None,
    limit: int | None,
    sets: tuple[str, ...],
) -> None:
    """Make the data of RECIPE, a file or a recipe's name.

    Killed at any moment, the same command goes on where it stopped. What was made under other settings is refused, or
    made again with --redo. With --retry-failed only what failed is asked again, and what was made from it is made
    again.
    """
    from x_instruction.pipeline.execute import default_workers, execute
    from x_instruction.pipeline.progress import shown
    from x_instruction.pipeline.rounds import STAGES
    from x_instruction.pipeline.status import spending, table, totals
    from x_instruction.refine import check

    settings = read_recipe(recipe, languages, limit, sets)
    last = next(age for age, stage in STAGES.items() if stage == until)
    if last in ("rated", "curated"):
        check(settings.refine)
    if dry_run:
        from x_instruction.pipeline.estimate import estimate

        for line in estimate(settings, workers or default_workers(settings)):
            click.echo(line)
        return
    root = out or Path("runs") / settings.name
    progress = shown()
    try:
        run = execute(settings, root, workers, redo, last, progress, budget=budget, retry_failed=retry_failed)
    finally:
        progress.close()
    found = totals(run, settings)
    click.echo(table(found))
    for line in spending(run, settings, found):
        click.echo(line)
    click.echo(f"next: x-instruction build {root}" if until == "diversify" else f"stopped after {until}: {root}")
