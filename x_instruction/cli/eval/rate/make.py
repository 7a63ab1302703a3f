"""``x-instruction eval rate make``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import out_option
from x_instruction.cli.wrapping import echo

# Named here because help must not import the reader of files; a test holds them equal to ``preference.ASPECTS``.
ASPECTS = ("language", "helpfulness", "factuality", "coherence", "harmlessness", "culture")


@click.command()
@click.argument("pairs", nargs=-1, required=True, type=click.Path(path_type=Path))
@out_option("Folder of the pages", required=True)
@click.option("--names", metavar="A,B", default="", help="Names of the two systems, for the results.")
@click.option(
    "--aspect",
    "aspects",
    multiple=True,
    type=click.Choice(ASPECTS),
    metavar="NAME",
    help=f"Aspect to ask beside the overall choice: {', '.join(ASPECTS)}. Repeatable.",
)
@click.option("--raters", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="Pages to write.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of all orders.")
def command(pairs: tuple[Path, ...], out: Path, names: str, aspects: tuple[str, ...], raters: int, seed: int) -> None:
    """Write pages on which people compare the answers of two systems.

    PAIRS is a folder that `eval answers` wrote, a file with instruction, language, output_a and output_b in each row,
    or two files with the answers of a system each (id, instruction, language, output).

    A page works offline, on a phone and by keyboard. Raters do not see which system an answer is of, and the order is
    random for each rater and pair. `eval rate collect` reads the files that they send back. Keep key.json to yourself:
    it says which answer is whose.
    """
    from x_instruction.review.page import write
    from x_instruction.review.preference import make

    systems = [name.strip() for name in names.split(",") if name.strip()]
    sheet = make(pairs, systems, tuple(dict.fromkeys(aspects)), seed)
    for page in write(sheet, out, raters):
        click.echo(page)
    echo(f"{len(sheet.items)} pairs\nnext: x-instruction eval rate collect {out}/answers-*", err=True)
