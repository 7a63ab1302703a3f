"""``x-instruction size-curve``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import read_sets


@click.command()
@click.argument("recipe")
@click.argument("data", nargs=-1, required=True)
@click.option("--sizes", required=True, metavar="N,N,...", help="Numbers of rows to tune on.")
@click.option("--held-out", "held", multiple=True, required=True, metavar="DATA", help="Rows to measure on.")
@click.option("--per-language", type=click.IntRange(1), help="Measure on at most so many rows of each language.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the models.  [default: models/NAME-sizes]")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a key of the tuning recipe.")
def command(
    recipe: str,
    data: tuple[str, ...],
    sizes: str,
    held: tuple[str, ...],
    per_language: int | None,
    out: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Tune RECIPE on growing parts of DATA and fit what a model is worth against the logarithm of its rows.

    Each part holds the smaller ones. Killed at any moment, the same command goes on with what is missing.
    """
    from x_instruction.config.training import load
    from x_instruction.errors import RecipeError
    from x_instruction.evaluation import held_out
    from x_instruction.experiments.scaling import curve, fit
    from x_instruction.mixing.files import sources
    from x_instruction.training.sft import read

    settings = load(recipe, read_sets(sets))
    try:
        wanted = [int(size) for size in sizes.split(",")]
    except ValueError:
        raise RecipeError(f"--sizes is {sizes!r}, wanted numbers as 100,200,400") from None
    found = read([source for name in data for source in sources(name, "web")])
    rows, _ = held_out.read(held, per_language)
    folder = out or Path("models") / f"{settings.name}-sizes"
    worth = curve(settings, found, wanted, rows, folder, lambda text: click.echo(text, err=True))
    click.echo(f"{'rows':>10} {'score':>8} {'bits/byte':>10} {'right language':>15}")
    for size, figures in worth.items():
        click.echo(f"{size:>10,} {figures['score']:>8.4f} {figures['bits_per_byte']:>10.3f} {figures['right']:>15.3f}")
    for name in ("score", "bits_per_byte", "right"):
        line = fit(list(worth), [figures[name] for figures in worth.values()])
        click.echo(f"{name} = {line.slope:+.4f} ln N {line.constant:+.4f}  (slope {line.low:+.4f} to {line.high:+.4f})")
