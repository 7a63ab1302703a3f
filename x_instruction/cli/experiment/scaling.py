"""``x-instruction experiment scaling``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import limit_option, out_option, read_sets, set_option
from x_instruction.cli.tables import Column, Format, emit, format_options


@click.command()
@click.argument("recipe")
@click.argument("data", nargs=-1, required=True)
@click.option("--sizes", required=True, metavar="N,N,...", help="Numbers of rows to train on.")
@click.option(
    "--held-out", "held", multiple=True, required=True, metavar="DATA", help="Rows to evaluate on. Repeatable."
)
@limit_option("held-out rows")
@out_option("Folder of the models", "models/NAME-sizes")
@set_option("train.steps=100")
@format_options
def command(
    recipe: str,
    data: tuple[str, ...],
    sizes: str,
    held: tuple[str, ...],
    limit: int | None,
    out: Path | None,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Fit a data-scaling curve of the training recipe RECIPE on DATA.

    Trains on growing subsets of DATA, each a part of the next, evaluates every model on the held-out rows, and
    regresses the score on the natural logarithm of the number of rows.

    If interrupted, rerun the same command to continue.
    """
    from x_instruction.config.training import load
    from x_instruction.errors import RecipeError
    from x_instruction.evaluation import held_out
    from x_instruction.experiments.scaling import curve, fit
    from x_instruction.mixing.files import sources
    from x_instruction.training.sft import read

    settings = load(recipe, read_sets(sets))
    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError:
        raise RecipeError(f"--sizes is {sizes!r}, expected numbers such as 100,200,400") from None
    training_rows = read([source for name in data for source in sources(name, "web")], settings.tag)
    rows, _ = held_out.read(held, limit)
    folder = out or Path("models") / f"{settings.name}-sizes"
    kept(f"finished models and checkpoints are kept in {folder}; rerun the same command to continue")
    worth = curve(settings, training_rows, numbers, rows, folder, lambda text: click.echo(text, err=True))
    emit([{"rows": size, **figures} for size, figures in worth.items()], _COLUMNS, form)
    for name in ("score", "bits_per_byte", "language_accuracy"):
        line = fit(list(worth), [figures[name] for figures in worth.values()])
        click.echo(
            f"{name} = {line.slope:+.4f} ln N {line.constant:+.4f}  (slope {line.low:+.4f} to {line.high:+.4f})",
            err=bool(form),
        )


_COLUMNS = [
    Column("rows", "rows", ","),
    Column("score", "score", ".4f"),
    Column("bits/byte", "bits_per_byte", ".3f"),
    Column("language accuracy", "language_accuracy", ".3f"),
]
