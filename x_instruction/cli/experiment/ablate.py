"""``x-instruction experiment ablate``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import out_option, overwrite_option, read_recipe, recipe_options, workers_option
from x_instruction.cli.tables import Column, Format, emit, format_options

# Named here because help must not import the library; a test holds them equal to ``ablation.STUDIES``.
STUDIES = ("refinement", "diversification", "rounds", "raters", "selectors")


@click.command()
@click.argument("recipe")
@click.argument("study", type=click.Choice(STUDIES), metavar="STUDY")
@out_option("Folder of the runs", "runs/NAME-STUDY")
@workers_option
@overwrite_option
@recipe_options
@format_options
def command(
    recipe: str,
    study: str,
    out: Path | None,
    workers: int,
    overwrite: bool,
    languages: tuple[str, ...],
    limit: int | None,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Run RECIPE once per variant of STUDY, and compare the results.

    Each variant changes one setting and has a run folder of its own, for `show`, `build` and `train sft`. Variants
    share the shards that they have in common.

    \b
    refinement       with and without the rater
    diversification  with and without the selector
    rounds           0 to 3 rounds of refinement
    raters           trained, pmi, contrastive, consensus, prompted, combined
    selectors        kmeans, mmr, k-center, top, random

    If interrupted, rerun the same command to continue.
    """
    from x_instruction.experiments.ablation import ablate
    from x_instruction.pipeline.executors.devices import default_workers
    from x_instruction.pipeline.progress import shown

    settings = read_recipe(recipe, languages, limit, sets)
    root = out or Path("runs") / f"{settings.name}-{study}"
    kept(f"finished shards and answers are kept in {root}; rerun the same command to continue")
    progress, results = shown(), []
    try:
        for one in ablate(settings, study, root, workers or default_workers(settings), overwrite, progress):
            results.append({**asdict(one), "folder": str(one.folder)})
    finally:
        progress.close()
        # Also the variants before one that fails.
        if results:
            emit(results, _COLUMNS, form)


_COLUMNS = [
    Column("variant", "variant"),
    Column("passages", "passages", ","),
    Column("kept", "kept", ","),
    Column("curated", "curated", ","),
    Column("score", "score", ".3f"),
    Column("distinct", "distinct", ".3f"),
    Column("folder", "folder"),
]
