"""``x-instruction train quality``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import out_option


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@out_option("Folder of the head", "models/quality")
@click.option("--embedder", default="embedded", show_default=True, help="Sentence encoder: a Hub id or a folder.")
@click.option("--text-column", default="text", show_default=True, help="Column with a passage.")
@click.option("--label-column", default="label", show_default=True, help="Column with its label, 0 (bad) to 1 (good).")
def command(files: tuple[Path, ...], out: Path | None, embedder: str, text_column: str, label_column: str) -> None:
    """Train a quality head on FILES of labelled passages.

    The head is a linear classifier on sentence embeddings. Recipes use it as corpus.filters.quality_head, with the same
    embedder as corpus.filters.quality_embedder.

    Labels are numbers from 0 to 1, true and false, or good and bad. A few hundred rows suffice. Use a multilingual
    embedder for passages that are not in English.
    """
    from x_instruction.corpus import quality
    from x_instruction.engines.local.embedder import Embedder

    texts, labels = quality.labelled_rows(files, text_column, label_column)
    head = quality.train(texts, labels, Embedder(embedder))
    target = out or Path("models/quality")
    head.save(target)
    click.echo(
        f"{target}: {head.rows:,} rows, {head.agreement:.0%} of them judged right in cross-validation, {head.embedder}"
    )
