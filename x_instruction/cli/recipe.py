"""``x-instruction recipe``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from x_instruction.cli.groups import CommandGroup
from x_instruction.cli.options import Option
from x_instruction.cli.tables import Column, Format, emit, format_options

KINDS = ("run", "mix", "train")


def kind_option(text: str) -> Option:
    """``--kind``: the command that reads the recipe."""
    return click.option("--kind", type=click.Choice(KINDS), help=text)


@click.group(cls=CommandGroup)
def command() -> None:
    """Look up recipes, their keys, and languages."""


@command.command("list")
@kind_option("Only recipes of `run`, `mix` or `train sft`.")
@format_options
def list_recipes(kind: str | None, form: Format | None) -> None:
    """List the recipes that ship with the package."""
    columns = [
        Column("kind", "kind"),
        Column("name", "name"),
        Column("model or method", "about"),
        Column("languages", lambda row: _few(row["languages"])),
    ]
    emit([row for known in KINDS if kind in (None, known) for row in _shipped(known)], columns, form)


@command.command()
@click.argument("name")
@kind_option("Which one, if several recipes share NAME.  [default: the first of run, mix, train]")
@click.option("--json", "as_json", is_flag=True, help="Print every setting as JSON, with the defaults.")
def show(name: str, kind: str | None, as_json: bool) -> None:
    """Print the recipe NAME, to start a file of your own from.

    NAME is the name of a recipe that ships, or a file.
    """
    from x_instruction.config import mixing, recipe, training
    from x_instruction.config.section import dumps

    modules: dict[str, Any] = {"run": recipe, "mix": mixing, "train": training}
    module = modules[kind or next((known for known in KINDS if name in modules[known].names()), "run")]
    settings = module.load(name)
    click.echo(dumps(settings) if as_json else module.text_of(name), nl=as_json)


@command.command()
@click.option("--kind", type=click.Choice(KINDS), default="run", show_default=True, help="Kind of recipe.")
def schema(kind: str) -> None:
    """Print the JSON Schema of recipes.

    With it, an editor completes and checks the keys of a recipe. For Even Better TOML and Taplo, save it as recipe.json
    and put this line at the top of the recipe:

    \b
    #:schema ./recipe.json
    """
    import json

    from x_instruction.config import mixing, recipe, training
    from x_instruction.config.schema import recipe_schema
    from x_instruction.config.section import Section

    kinds: dict[str, type[Section]] = {"run": recipe.Recipe, "mix": mixing.MixRecipe, "train": training.TrainingRecipe}
    click.echo(json.dumps(recipe_schema(kinds[kind]), indent=1, ensure_ascii=False))


@command.command()
@click.argument("tags", nargs=-1)
@format_options
def languages(tags: tuple[str, ...], form: Format | None) -> None:
    """Look up language tags and names.

    Prints TAGS, or the ten languages of the paper.

    TAGS are tags, codes or English names, in any form that --languages takes.
    """
    from x_instruction.languages import PAPER_LANGUAGES, language

    names = ("tag", "code", "name", "native_name", "aliases")
    found = [language(tag) for tag in tags or PAPER_LANGUAGES]
    rows = [{name: getattr(one, name) for name in names} for one in found]
    emit(rows, [Column(name.replace("_", " "), name) for name in names], form)


def _shipped(kind: str) -> Iterator[dict[str, Any]]:
    from x_instruction.config import mixing, recipe, training

    if kind == "run":
        for name in recipe.names():
            run = recipe.load(name)
            yield _row(kind, name, run.generate.model.name, run.languages)
    elif kind == "mix":
        for name in mixing.names():
            mix = mixing.load(name)
            yield _row(kind, name, ", ".join(mix.sections()), mix.languages)
    else:
        for name in training.names():
            train = training.load(name)
            yield _row(kind, name, f"{train.model.name}, {train.train.method}", ())


def _row(kind: str, name: str, about: str, languages: tuple[str, ...]) -> dict[str, Any]:
    return {"kind": kind, "name": name, "about": about, "languages": list(languages)}


def _few(tags: list[str], most: int = 10) -> str:
    return " ".join(tags[:most]) + (f" and {len(tags) - most} more" if len(tags) > most else "")
