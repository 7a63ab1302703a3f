"""``x-instruction export``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import languages_option, out_option, overwrite_option

# Named here and not in ``builders.exports``, which imports datasets: help must be quick. A test holds them equal.
FORMATS = ("original", "jsonl", "alpaca", "sharegpt", "chat", "prompt-completion", "dpo", "dpo-text")


@click.command()
@click.argument("source")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), metavar="FORMAT", required=True, help="Format of the files."
)
@out_option("Folder of the files", required=True)
@languages_option("all of SOURCE")
@click.option("--split", default="train", show_default=True, metavar="NAME", help="Split to export.")
@click.option(
    "--prefer",
    type=click.Choice(["responses", "instructions"]),
    help="For dpo: what is preferred to what.  [default: responses]",
)
@click.option(
    "--margin", type=float, metavar="SCORE", help="For --prefer instructions: smallest difference of the scores."
)
@overwrite_option
def command(
    source: str,
    form: str,
    out: Path,
    languages: tuple[str, ...],
    split: str,
    prefer: str | None,
    margin: float | None,
    overwrite: bool,
) -> None:
    """Export rows to files of other tools, one file per language.

    SOURCE is the folder of a run or of a built data set, a folder with files such as sw.json, or the id of a data set
    on the Hub.

    FORMAT is one of:

    \b
    original           sw.json: a list of instruction, input, output
    jsonl              every column, one row per line
    alpaca             instruction, input, output, one row per line
    sharegpt           conversations between human and gpt
    chat               messages of user and assistant
    prompt-completion  conversational prompts and completions, for TRL
    dpo                conversational prompt, chosen and rejected, for TRL
    dpo-text           the same as text, for base models

    \b
    The formats dpo and dpo-text hold preference pairs:
    responses     the natural response before flawed ones and that of another
                  document, for a model that answers
    instructions  the best instruction of a passage before worse ones, by the
                  scores of the rater, for a generator; SOURCE is a run

    The folder also holds dataset_info.json for LLaMA-Factory and axolotl.yaml for axolotl, if they read the format.
    Only jsonl has the source and the licence of each row.
    """
    from x_instruction.builders.exports import export

    written = export(
        source,
        out,
        form,
        languages=languages,
        split=split,
        overwrite=overwrite,
        prefer=prefer,
        margin=margin,
        progress=lambda line: click.echo(line, err=True),
    )
    for path in written.files:
        click.echo(path)
