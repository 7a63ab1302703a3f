"""``x-instruction models``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import read_recipe, recipe_options


@click.command()
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/<name of the recipe>]")
@click.option("--role", type=click.Choice(["generator", "rater"]), help="Only this one.  [default: all that are tuned]")
@click.option("--redo", is_flag=True, help="Make models again that were made under other settings.")
@recipe_options
def command(
    recipe: str,
    out: Path | None,
    role: str | None,
    redo: bool,
    languages: str | None,
    limit: int | None,
    sets: tuple[str, ...],
) -> None:
    """Tune the generator and the rater of RECIPE on its seeds, as `run` would before it needs them.

    The adapters stand in OUT/models; other recipes take them as generate.model.adapter and refine.model.adapter.
    Killed at any moment, the same command goes on from the last checkpoint.
    """
    from x_instruction.errors import RecipeError
    from x_instruction.pipeline import rounds
    from x_instruction.pipeline.models import Models
    from x_instruction.storage.lock import run_lock
    from x_instruction.storage.run_folder import RunFolder

    settings = read_recipe(recipe, languages, limit, sets)
    rounds.check(settings)
    tuned = {"generator": settings.generate.tune, "rater": settings.refine.tune}
    wanted = [name for name in tuned if tuned[name] and role in (None, name)]
    if not wanted:
        raise RecipeError(f"{recipe} tunes no {role or 'model'}: add [generate.tune] or [refine.tune]")
    root = out or Path("runs") / settings.name
    run = RunFolder(root)
    models = Models(run, settings, redo, lambda text: click.echo(text, err=True))
    with run_lock(root):
        for name in wanted:
            for folder in models.ready(name, 0):
                click.echo(str(folder))
