"""``x-instruction show``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from x_instruction.cli.options import languages_option, limit_option
from x_instruction.errors import RecipeError

if TYPE_CHECKING:
    from x_instruction.records import Passage
    from x_instruction.storage.run_folder import RunFolder
    from x_instruction.storage.shard_key import StageKey

# Named here because help must not import the records; a test holds them equal to ``records.STAGES``.
STAGES = ("passage", "candidate", "rated", "curated")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--stage",
    type=click.Choice(STAGES),
    metavar="STAGE",
    default="curated",
    show_default=True,
    help=f"Kind of rows: {', '.join(STAGES)}.",
)
@click.option(
    "--round",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Round of refinement of these rows.",
)
@languages_option("all of the run")
@limit_option("rows", default=5)
def command(folder: Path, stage: str, round: int, languages: tuple[str, ...], limit: int) -> None:
    """Print rows of the run in FOLDER."""
    from x_instruction.api import read_run
    from x_instruction.languages import language
    from x_instruction.storage.run_folder import RunFolder
    from x_instruction.storage.shard_key import StageKey

    run, made_at, shown = RunFolder(folder), StageKey(stage, round), 0
    chosen = [language(tag) for tag in languages or read_run(folder).languages]
    for one in chosen:
        rows = list(islice(_rows(run, made_at, one.tag), limit))
        if languages and not rows:
            raise RecipeError(f"{folder} has no {made_at} rows of {one.name}: see `x-instruction status {folder}`")
        shown += len(rows)
        for record in rows:
            _print(record)
    if not shown:
        raise RecipeError(f"{folder} has no {made_at} rows: see `x-instruction status {folder}`")


def _rows(run: RunFolder, stage: StageKey, tag: str) -> Iterator[Passage]:
    for key in run.shards(stage, tag):
        yield from run.read(key)


def _print(record: Passage) -> None:
    from x_instruction.records import Candidate, Rated

    if isinstance(record, Rated):
        click.echo(f"{record.id}  score {record.score:.3f}  {record.rater}")
    else:
        click.echo(record.id)
    if isinstance(record, Candidate):
        click.echo(f"  > {plain(record.instruction)}")
    click.echo(f"  {plain(record.text)}\n")


def plain(text: str, most: int = 300) -> str:
    """Text that cannot move the cursor or colour the terminal: control characters become spaces."""
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text[:most])
    return shown + ("…" if len(text) > most else "")
