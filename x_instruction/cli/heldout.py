"""``x-instruction heldout``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from x_instruction.cli.options import read_sets

if TYPE_CHECKING:
    from x_instruction.config.recipe import Model
    from x_instruction.evaluation.held_out import Difference, Metrics


@click.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option("--adapter", help="LoRA adapter on top of the model: a folder or a Hub id.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a key of the model, as engine=vllm.")
@click.option("--per-language", type=click.IntRange(1), help="So many rows of each language at most.")
@click.option(
    "--max-tokens", type=click.IntRange(1), default=256, show_default=True, help="Score so much of a response."
)
@click.option("--answer-tokens", type=click.IntRange(1), default=48, show_default=True, help="Length of the answers.")
@click.option("--prompt", default="auto", show_default=True, help="How the model is asked: chat, answer, or a file.")
@click.option(
    "--tag",
    metavar="TEXT",
    help="What prompts end with, as 'Answer in {name}.'; '' for nothing.  [default: as the model was tuned]",
)
@click.option("--lid-model", help="fastText model, for languages that py3langid does not know.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write, .json: every row.")
@click.option(
    "--against", type=click.Path(path_type=Path), help="What --out wrote for another model: show differences."
)
def command(
    model: str,
    data: tuple[str, ...],
    adapter: str | None,
    sets: tuple[str, ...],
    per_language: int | None,
    max_tokens: int,
    answer_tokens: int,
    prompt: str,
    tag: str | None,
    lid_model: str | None,
    out: Path | None,
    against: Path | None,
) -> None:
    """Measure what MODEL is worth on DATA that it was not tuned on, by language.

    Shown are bits per byte of the responses (fewer are better), the share of answers in the right language, and the
    score that chooses between learning rates: that share times 2 ** -bits per byte. In brackets are bootstrap
    intervals of 95 %.

    A model that `tune` made of a mix with source tags is asked with the mix's tag for asking (tuned.json in its folder
    has it), in the place of the tags that rows of a mix carry.

    DATA is a folder that `build` wrote (its test files, or else those of validation), or a file of instructions;
    TAG=PATH says the language of its responses where its rows do not.
    """
    from x_instruction.config.recipe import Model, parse
    from x_instruction.engines import open_engine
    from x_instruction.errors import RecipeError
    from x_instruction.evaluation.held_out import (
        Measurement,
        comparable,
        difference,
        load,
        measure,
        read,
        save,
        summary,
        tagged,
    )
    from x_instruction.prompts.answer import frame

    overrides = {"name": json.dumps(model, ensure_ascii=False), **read_sets(sets)}
    if adapter is not None:
        overrides["adapter"] = json.dumps(adapter, ensure_ascii=False)
    settings = parse(Model, "", "heldout", overrides)
    lengths = {"max_tokens": max_tokens, "answer_tokens": answer_tokens}
    if out and out.suffix != ".json":
        raise RecipeError(f"--out {out} is not .json")
    other = load(against) if against else None
    if other:
        comparable(lengths, other)
    rows, gone = read(data, per_language)
    for reason, number in sorted(Counter(record.reason for record in gone).items()):
        click.echo(f"dropped  {reason:24} {number:9,}", err=True)
    tags = _tags(settings, tag, {row.language for row in rows})
    for name, text in sorted(tags.items()):
        click.echo(f"ask      {name:24} {text}", err=True)
    engine = open_engine(settings)
    held = measure(tagged(rows, tags), engine, frame(prompt, engine.chat), max_tokens, answer_tokens, lid_model)
    if out:
        save(Measurement(engine.model, engine.revision, lengths, Path(prompt).name, tuple(held), tags), out)
    for line in _table(summary(held)):
        click.echo(line)
    if other:
        click.echo(f"\nmore than {other.model}, on the same rows")
        for line in _table(difference(held, other.held)):
            click.echo(line)


def _tags(model: Model, text: str | None, languages: set[str]) -> dict[str, str]:
    """What prompts end with, by language: as the option says it, else as what `tune` left beside the model does.

    Nothing is known of a model that a server runs: its files are not here.
    """
    from x_instruction.engines import engine_spec
    from x_instruction.engines.models import locate
    from x_instruction.errors import RecipeError
    from x_instruction.mixing.files import asked_with
    from x_instruction.mixing.tags import filled
    from x_instruction.training.sft import TUNED

    if text is None:
        files = [] if engine_spec(model).remote else [locate(model.name, model.revision)]
        if files and model.adapter:
            files.insert(0, locate(model.adapter))
        tags = next((asked_with(one.folder / TUNED) for one in files if (one.folder / TUNED).is_file()), {})
        return {tag: tags[tag] for tag in sorted(languages & tags.keys())}
    try:
        return {tag: filled(text, tag) for tag in sorted(languages)} if text else {}
    except (KeyError, IndexError, ValueError):
        raise RecipeError(f"--tag is {text!r}, wanted text in which only {{tag}} and {{name}} are filled in") from None


def _table(figures: dict[str, Metrics] | dict[str, Difference]) -> Iterator[str]:
    yield f"{'language':10}{'rows':>9}  {'bits per byte':30}{'right language':30}score"
    for name, found in figures.items():
        cells = [
            f"{value:.4f} ({low:.4f} to {high:.4f})"
            for value, (low, high) in (
                (found.bits_per_byte, found.bits_per_byte_interval),
                (found.right, found.right_interval),
                (found.score, found.score_interval),
            )
        ]
        yield f"{name:10}{found.rows:9,}  {cells[0]:30}{cells[1]:30}{cells[2]}"
