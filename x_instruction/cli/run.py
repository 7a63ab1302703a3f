"""``x-instruction run``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import out_option, overwrite_option, read_recipe, recipe_options, workers_option
from x_instruction.cli.status import detached_state, drops_option, show
from x_instruction.cli.wrapping import echo
from x_instruction.errors import ShardError


@click.command()
@click.argument("recipe")
@out_option("Folder or store (s3://...) of the run", "runs/NAME", is_run=True)
@workers_option
@click.option(
    "--until",
    type=click.Choice(["corpus", "generate", "refine", "diversify"]),
    metavar="STAGE",
    default="diversify",
    show_default=True,
    help="Stop after corpus, generate, refine or diversify.",
)
@overwrite_option
@click.option("--retry-failed", is_flag=True, help="Repeat requests that an engine failed on.")
@click.option(
    "--budget", type=float, metavar="AMOUNT", help="Stop when this much is spent, according to the recipe's prices."
)
@click.option("--verify", is_flag=True, help="First read the corpus and all shards again, and compare their digests.")
@click.option("--rank", type=int, metavar="N", default=0, help="Make only a part of the shards: N of --of, from 0.")
@click.option("--of", type=int, metavar="N", default=1, help="Number of parts that are made side by side.")
@click.option(
    "--on",
    metavar="PLACE",
    default="local",
    show_default=True,
    help="Where the shards are made: local, ray, ray:HOST:PORT, ray://HOST:PORT, slurm or hf-jobs.",
)
@click.option("--site", type=click.Path(path_type=Path), metavar="FILE", help="Settings of that place, a TOML file.")
@click.option("--dry-run", is_flag=True, help="With --on slurm or hf-jobs: print what would be submitted.")
@drops_option
@recipe_options
def command(
    recipe: str,
    out: str | Path | None,
    workers: int,
    until: str,
    overwrite: bool,
    retry_failed: bool,
    budget: float | None,
    verify: bool,
    rank: int,
    of: int,
    on: str,
    site: Path | None,
    dry_run: bool,
    drops: bool,
    languages: tuple[str, ...],
    limit: int | None,
    sets: tuple[str, ...],
) -> None:
    """Make the data of RECIPE: generate, refine, diversify.

    RECIPE is a file, or the name of a recipe that ships: see `x-instruction recipe list`.

    If Ctrl-C, SIGTERM or SIGHUP ends the run, rerun the same command to continue. Output of other settings is an error
    unless you pass --overwrite. With --retry-failed, only failed requests are repeated, and what depends on them is
    made again.

    With --on slurm, the command submits jobs and returns: see `x-instruction status` and `x-instruction cancel`. With
    --on hf-jobs, it waits for them; if you end it, the jobs continue, and `x-instruction advance` takes over.

    If a stage keeps no row of a language, or drops over 90 % of its rows for one reason, a warning names the reason and
    the first such row, and the exit code is 2. All shards are written.
    """
    from x_instruction import api
    from x_instruction.pipeline.rounds import SECTIONS

    settings = read_recipe(recipe, languages, limit, sets)
    last = next(stage for stage, section in SECTIONS.items() if section == until)
    root = out or Path("runs") / settings.name
    if dry_run:
        from x_instruction.pipeline.detached.dry_run import dry_run as shown

        echo(shown(settings, root, on, site, last))
        return
    kept(f"finished shards and answers are kept in {root}; rerun the same command to continue")
    run = api.run(
        settings,
        root,
        workers=workers,
        until=last,
        overwrite=overwrite,
        budget=budget,
        retry_failed=retry_failed,
        verify=verify,
        rank=rank,
        of=of,
        on=on,
        site=site,
    )
    state = detached_state(run)
    if state is not None and not state.ended and not state.scheduler().advances:
        _follow(root)
    elif state is not None and not state.ended:
        echo(f"submitted {state.summary()}")
        echo(f"next: x-instruction status {root}")
        return
    show(run, drops)
    lost = len(run.losses(last))
    if until != "diversify":
        click.echo(f"stopped after {until}: {root}")
    elif any(total.kept for total in run.totals() if total.stage == last):
        click.echo(f"next: x-instruction build {root}")
    else:
        click.echo(f"no pair is left to build from: {root}")
    if lost:
        warnings = "1 warning" if lost == 1 else f"{lost} warnings"
        click.echo(f"{warnings} above: a stage kept no row, or dropped nearly all for one reason", err=True)
        sys.exit(2)


def _follow(location: str | Path) -> None:
    """Wait for jobs, and submit what comes next."""
    from x_instruction.pipeline.detached.advance import follow
    from x_instruction.pipeline.detached.state import COMPLETE
    from x_instruction.pipeline.progress import shown

    display = shown()
    try:
        state = follow(str(location), display)
    finally:
        display.close()
    if state.ended != COMPLETE:
        raise ShardError(f"{location} was ended ({state.ended}): rerun the same command to continue")
