"""``x-instruction seeds labels``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import languages_option, out_option, read_recipe, set_option

_PARTS = ("training", "validation", "all")


@click.command()
@click.argument("recipe")
@out_option("File to write, .jsonl", required=True)
@click.option(
    "--part",
    type=click.Choice(_PARTS),
    metavar="PART",
    default="all",
    show_default=True,
    help=f"Documents: {', '.join(_PARTS)}.",
)
@languages_option("those of the recipe")
@set_option("refine.per_level=2")
def command(recipe: str, out: Path, part: str, languages: tuple[str, ...], sets: tuple[str, ...]) -> None:
    """Write labelled pairs made from the seeds of RECIPE.

    A rater learns from such pairs. There are as many of each level: the seeds themselves (best), pairs with one flaw
    (flawed), and instructions of other documents (worst). A rater that RECIPE trains never sees a document of the part
    `validation`.

    `x-instruction eval raters` compares raters on the file.
    """
    from collections import Counter

    from x_instruction.refine.label_files import write
    from x_instruction.refine.labels import WEAK_STRATEGIES, balance, examples, split
    from x_instruction.seed.gather import gather

    settings = read_recipe(recipe, languages, None, sets)
    refine = settings.refine
    pairs = [pair for seeds in gather(settings, lambda text: click.echo(text, err=True)).values() for pair in seeds]
    training, validation = split(pairs, refine.validation, settings.seed)
    chosen = {"training": training, "validation": validation, "all": pairs}[part]
    if asked := sorted(set(WEAK_STRATEGIES) & set(refine.label_strategies)):
        click.echo(f"{' and '.join(asked)}: left out, only a run asks a weaker model", err=True)
    made = balance(examples(chosen, refine.label_strategies, refine.per_level, settings.seed), settings.seed)
    write(made, out)
    for (level, strategy), number in sorted(Counter((e.level, e.strategy) for e in made).items()):
        click.echo(f"{level:8} {strategy:16} {number:9,}", err=True)
    click.echo(f"{out}: {len(made):,} pairs of {len(chosen):,} seeds")
