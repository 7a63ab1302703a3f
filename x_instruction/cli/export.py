"""``x-instruction export``."""

from __future__ import annotations

from pathlib import Path

import click

# Named here and not in ``builders.exports``, which imports datasets: help must be quick. A test holds them equal.
FORMATS = ("original", "jsonl", "alpaca", "sharegpt", "chat", "prompt-completion")


@click.command()
@click.argument("folder", metavar="FOLDER")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="What is to read the files.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the files.")
@click.option("--language", "languages", multiple=True, metavar="TAG", help="Only this one; may be given again.")
@click.option("--split", default="train", show_default=True)
@click.option("--overwrite", is_flag=True, help="Write into a folder that holds something, over files of those names.")
def command(folder: str, form: str, out: Path, languages: tuple[str, ...], split: str, overwrite: bool) -> None:
    """Write rows for other tools, one file per language.

    FOLDER is a run, a built data set, a folder with files such as sw.json, or the id of a data set on the Hub.

    \b
    original            sw.json: a list of instruction, input, output, as the original release
    jsonl               every column, a line per row
    alpaca              instruction, input, output, a line per row
    sharegpt            conversations of human and gpt
    chat                messages of user and assistant
    prompt-completion   conversational, as TRL trains on the completion alone

    Beside the lines stand dataset_info.json for LLaMA-Factory and axolotl.yaml for axolotl, where they read the format.
    Only jsonl holds the source and the licence of a row.
    """
    from x_instruction.builders.exports import export

    written = export(
        folder,
        out,
        form,
        languages=languages,
        split=split,
        overwrite=overwrite,
        progress=lambda line: click.echo(line, err=True),
    )
    for path in written.files:
        click.echo(path)
