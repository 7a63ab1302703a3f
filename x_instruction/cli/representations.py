"""``x-instruction representations``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from x_instruction.config.recipe import Model
from x_instruction.errors import RecipeError
from x_instruction.storage.atomic import atomic

if TYPE_CHECKING:
    from x_instruction.evaluation.representations import Measured


@click.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option("--adapter", metavar="FOLDER", help="LoRA adapter on top of the model: a folder or a Hub id.")
@click.option("--layer", type=int, help="Hidden state; 0 is the embeddings.  [default: 1]")
@click.option("--layers", type=click.Choice(["all"]), help="Every hidden state, one after the other.")
@click.option(
    "--pooling",
    type=click.Choice(["last", "mean"]),
    default="last",
    show_default=True,
    help="A sentence's state: of its last token, or the mean over its tokens.",
)
@click.option("--limit", type=click.IntRange(2), help="Pairs of each language at most.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the numbers as JSON too.")
def command(
    model: str,
    data: tuple[str, ...],
    adapter: str | None,
    layer: int | None,
    layers: str | None,
    pooling: Literal["last", "mean"],
    limit: int | None,
    out: Path | None,
) -> None:
    """Measure how near MODEL's states of translations in DATA are, per language.

    DATA is a mix with the mixer `afp`, or a file (.jsonl, .json, .parquet) of rows with sentence, parallel and
    language, or of documents with text_en and text, whose first lines count; TAG=PATH says the language where rows do
    not. English, or the mix's pivot, is one side of every pair.

    retrieval is the share of sentences whose translation is the nearest by cosine, mean of both directions; more pairs
    make it harder, so compare equal numbers. gap is the mean cosine of translations minus that of all others;
    uniformity is 0 when all states are the same, and falls as they spread.
    """
    from x_instruction.evaluation.representations import Encoder, measure, read

    if layer is not None and layers is not None:
        raise RecipeError("--layer and --layers all are both given: leave one out")
    pairs = read(data, limit)
    encoder = Encoder.load(Model(name=model, adapter=adapter, threads=os.cpu_count() or 1))
    wanted = range(encoder.layers + 1) if layers else [1 if layer is None else layer]
    found = list(measure(encoder, pairs, wanted, pooling))
    for line in table(found):
        click.echo(line)
    if out is not None:
        what = {"model": model, "adapter": adapter, "pooling": pooling, "measured": [asdict(each) for each in found]}
        with atomic(out) as stream:
            stream.write(json.dumps(what, indent=1, ensure_ascii=False).encode())


def table(found: Sequence[Measured]) -> list[str]:
    """A line per language and layer; of several languages their mean, each counting the same."""
    lines = [f"{'language':10} {'layer':>5} {'pairs':>7} {'retrieval':>9} {'gap':>7} {'uniformity':>10}"]
    for each in sorted(found, key=lambda each: each.layer):
        lines.append(_line(each.language, each.layer, each.pairs, each.retrieval, each.gap, each.uniformity))
    for layer in sorted({each.layer for each in found}):
        here = [each for each in found if each.layer == layer]
        if len(here) > 1:
            means = [sum(values) / len(here) for values in zip(*map(_numbers, here), strict=True)]
            lines.append(_line("mean", layer, sum(each.pairs for each in here), *means))
    return lines


def _numbers(each: Measured) -> tuple[float, float, float]:
    return each.retrieval, each.gap, each.uniformity


def _line(name: str, layer: int, pairs: int, retrieval: float, gap: float, uniformity: float) -> str:
    return f"{name:10} {layer:5} {pairs:7,} {retrieval:9.3f} {gap:7.3f} {uniformity:10.3f}"
