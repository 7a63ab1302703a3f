"""``x-instruction review make``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import languages_option, out_option
from x_instruction.cli.wrapping import echo


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@languages_option(required=True)
@click.option("--rows", type=click.IntRange(1), default=200, show_default=True, metavar="N", help="Pairs of the run.")
@click.option("--raters", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="Pages to write.")
@click.option(
    "--known",
    type=click.IntRange(0),
    metavar="N",
    help="Rows of known quality among them.  [default: a fifth of --rows, at least 20]",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the sample and all orders.")
@out_option("Folder of the pages, one in it for each language", "RUN/review")
def command(
    run: Path,
    languages: tuple[str, ...],
    rows: int,
    raters: int,
    known: int | None,
    seed: int,
    out: Path | None,
) -> None:
    """Write pages on which native speakers review pairs of RUN.

    A page works offline, on a phone and by keyboard. It shows one pair at a time: good, flawed or bad, a corrected
    instruction, a comment. The sample covers all scores of the rater, kept and dropped pairs alike. Rows of known
    quality among them, from the seeds of the recipe, tell how reliable a rater is.

    Send each rater a page. `review collect` reads the files that they send back. Keep key.json to yourself: it says
    which rows are of known quality.
    """
    from x_instruction.api import read_run
    from x_instruction.languages import language
    from x_instruction.review.page import write
    from x_instruction.review.sample import make
    from x_instruction.storage.run_folder import RunFolder

    recipe = read_run(run)
    tags = [language(name).tag for name in languages]
    sheets = {tag: make(RunFolder(run), recipe, tag, rows, known, seed) for tag in tags}
    for tag, sheet in sheets.items():
        folder = (out or run / "review") / tag
        for page in write(sheet, folder, raters):
            click.echo(page)
        planted = sum("level" in item.hidden for item in sheet.items)
        echo(
            f"{tag}: {len(sheet.items)} pairs, {planted} of known quality\n"
            f"next: x-instruction review collect {folder}/answers-*",
            err=True,
        )
