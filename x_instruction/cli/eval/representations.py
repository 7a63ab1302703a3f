"""``x-instruction eval representations``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from x_instruction.cli.eval.asking import record_option
from x_instruction.cli.options import limit_option, out_option, overwrite_option
from x_instruction.cli.tables import Column, Format, emit, format_options
from x_instruction.errors import RecipeError

if TYPE_CHECKING:
    from x_instruction.evaluation.representations import Alignment


@click.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option("--adapter", metavar="FOLDER", help="LoRA adapter on top of MODEL: a folder or a Hub id.")
@click.option("--layer", type=int, metavar="N", help="Hidden state to measure; 0 is the embeddings.  [default: 1]")
@click.option("--layers", type=click.Choice(["all"]), help="Measure every hidden state.")
@click.option(
    "--pooling",
    type=click.Choice(["last", "mean"]),
    default="last",
    show_default=True,
    help="Sentence state: the last token's, or the mean over tokens.",
)
@limit_option("pairs", least=2)
@out_option("Write the results to a file, .json")
@record_option
@overwrite_option
@format_options
def command(
    model: str,
    data: tuple[str, ...],
    adapter: str | None,
    layer: int | None,
    layers: str | None,
    pooling: Literal["last", "mean"],
    limit: int | None,
    out: Path | None,
    record: Path | None,
    overwrite: bool,
    form: Format | None,
) -> None:
    """Measure how close representations of translations are.

    Prints one row per language and layer of MODEL.

    DATA is a mix of the method `afp`, or a file (.jsonl, .json, .parquet) of rows with sentence, parallel and language,
    or of documents with text_en and text, whose first lines are used. TAG=PATH sets the language if the rows do not
    state it. One side of each pair is English, or the pivot of the mix.

    \b
    retrieval   share of sentences whose nearest neighbour by cosine is their
                translation, mean of both directions; falls with more pairs, so
                compare equal numbers
    gap         mean cosine of translations minus that of all other pairs
    uniformity  0 if all states are equal; lower as they spread
    """
    from x_instruction.config.model import Model
    from x_instruction.evaluation.intrinsic_records import REPRESENTATIONS, write_representations
    from x_instruction.evaluation.models import model_info
    from x_instruction.evaluation.record import check_target
    from x_instruction.evaluation.representations import Encoder, measure, read
    from x_instruction.storage.atomic import atomic

    if layer is not None and layers is not None:
        raise RecipeError("--layer and --layers exclude each other: leave one out")
    pairs = read(data, limit)
    settings = Model(name=model, adapter=adapter, threads=os.cpu_count() or 1)
    decisive = {
        "data": [Path(name).name for name in data],
        "limit": limit,
        "pooling": pooling,
        "layers": layers or layer,
    }
    if record:
        check_target(record, REPRESENTATIONS, model_info(settings), decisive, overwrite)
    encoder = Encoder.load(settings)
    measured_layers = range(encoder.layers + 1) if layers else [1 if layer is None else layer]
    alignments = list(measure(encoder, pairs, measured_layers, pooling))
    emit(_rows(alignments), _COLUMNS, form)
    if record:
        path = write_representations(record, model_info(settings), alignments, decisive, overwrite)
        click.echo(f"written: {path}", err=True)
    if out is not None:
        what = {
            "model": model,
            "adapter": adapter,
            "pooling": pooling,
            "measured": [asdict(each) for each in alignments],
        }
        with atomic(out) as stream:
            stream.write(json.dumps(what, indent=1, ensure_ascii=False).encode())


_COLUMNS = [
    Column("language", "language"),
    Column("layer", "layer", "d"),
    Column("pairs", "pairs", ","),
    Column("retrieval", "retrieval", ".3f"),
    Column("gap", "gap", ".3f"),
    Column("uniformity", "uniformity", ".3f"),
]


def _rows(alignments: Sequence[Alignment]) -> list[dict[str, Any]]:
    """A row per language and layer, then the mean over languages of each layer that has several."""
    rows = [asdict(each) for each in sorted(alignments, key=lambda each: each.layer)]
    for layer in sorted({row["layer"] for row in rows}):
        here = [row for row in rows if row["layer"] == layer]
        if len(here) > 1:
            means = {name: sum(row[name] for row in here) / len(here) for name in _MEANS}
            rows.append({"language": "mean", "layer": layer, "pairs": sum(row["pairs"] for row in here), **means})
    return rows


_MEANS = ("forward", "backward", "retrieval", "gap", "uniformity")
