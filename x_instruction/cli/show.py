"""``x-instruction show``."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import click

from x_instruction.errors import RecipeError
from x_instruction.languages import language
from x_instruction.records import AGES, Candidate, Rated
from x_instruction.storage.run_folder import RunFolder


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("tag")
@click.option("--age", type=click.Choice(list(AGES)), default="curated", show_default=True)
@click.option("--rows", type=click.IntRange(1), default=5, show_default=True)
def command(folder: Path, tag: str, age: str, rows: int) -> None:
    """Print rows of the language TAG from the run in FOLDER."""
    run, found = RunFolder(folder), language(tag)
    shards = run.count(age, found.tag)
    if not shards:
        raise RecipeError(f"{folder} holds no {age} rows of {found.name}: see `x-instruction status {folder}`")
    left = rows
    for index in range(shards):
        for record in run.read(age, found.tag, index):
            if left == 0:
                return
            left -= 1
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
