"""Options that several commands share: one name, one meaning, one help text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.errors import RecipeError, RunChanged, XInstructionError

if TYPE_CHECKING:
    from x_instruction.config.recipe import Recipe

# Keys of a recipe that an option of its own sets.
OPTIONS = {"corpus.passages": "--limit"}

Command = Callable[..., Any]
Option = Callable[[Command], Command]


class Location(click.Path):
    """A path, or the URL of a run in an object store, which stays text: a path would lose a slash.

    Args:
        is_run: whether it is a run. Nothing else can be in a store.
    """

    def __init__(self, is_run: bool = True) -> None:
        super().__init__()
        self.is_run = is_run

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        """The value that a command gets."""
        text = str(value)
        if "://" in text and not self.is_run:
            self.fail(f"{text} is a URL, expected a path: only runs can be in a store", param, ctx)
        return text if "://" in text else Path(text)


def out_option(what: str, default: str = "", required: bool = False, is_run: bool = False) -> Option:
    """``--out``: where the output is written.

    Args:
        what: the kind of output, for the help.
        default: where it is written without the option, for the help.
        required: whether the option has no default.
        is_run: whether the output is a run, which may be in an object store.
    """
    shown = f"  [default: {default}]" if default else ""
    return click.option("--out", type=Location(is_run), required=required, help=f"{what}.{shown}")


def limit_option(items: str, least: int = 1, default: int | None = None) -> Option:
    """``--limit``: at most so many items of each language."""
    text = f"Use at most N {items} per language."
    kind = click.IntRange(least)
    return click.option("--limit", type=kind, metavar="N", default=default, show_default=default is not None, help=text)


def languages_option(default: str = "", required: bool = False) -> Option:
    """``--languages``: which languages, as a tuple of what the user typed, empty without the option."""
    shown = f"  [default: {default}]" if default else ""
    return click.option(
        "--languages",
        multiple=True,
        required=required,
        metavar="TAGS",
        callback=_split,
        help=f"Language tags, such as sw,th. Repeatable.{shown}",
    )


def _split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    tags = dict.fromkeys(tag.strip() for value in values for tag in value.split(","))
    tags.pop("", None)
    if values and not tags:
        raise click.BadParameter("expected language tags, such as sw,th", ctx, param)
    return tuple(tags)


def set_option(example: str) -> Option:
    """``--set``: a key of the recipe, or of the section that the command reads."""
    return click.option(
        "--set", "sets", multiple=True, metavar="KEY=VALUE", help=f"Set a key, such as {example}. Repeatable."
    )


def workers_option(command: Command) -> Command:
    """``--workers``: the number of processes."""
    return click.option(
        "--workers",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Number of processes.  [default: one per GPU, or per CPU core]",
    )(command)


def overwrite_option(command: Command) -> Command:
    """``--overwrite``: replace output that is in the way."""
    return click.option("--overwrite", is_flag=True, help="Replace existing output that differs.")(command)


def allow_key_option(command: Command) -> Command:
    """``--allow-key``: environment variables that a recipe may send to its servers."""
    return click.option(
        "--allow-key",
        multiple=True,
        metavar="NAME",
        expose_value=False,
        callback=_allow,
        help="Environment variable that the recipe may send as a server's API key. Repeatable.",
    )(command)


def _allow(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> None:
    allow_keys(names)


def allow_keys(names: Iterable[str]) -> None:
    """Allow these environment variables to be sent as API keys."""
    if named := list(names):
        from x_instruction.engines import keys

        keys.allow(named)


def recipe_options(command: Command) -> Command:
    """``--languages``, ``--limit``, ``--set`` and ``--allow-key``: what a command changes or allows."""
    for option in (
        allow_key_option,
        set_option("generate.candidates=8"),
        limit_option("passages"),
        languages_option("those of the recipe"),
    ):
        command = option(command)
    return command


def publish_options(command: Command) -> Command:
    """``--private`` to ``--collection`` and ``--yes``: how a repository of the Hub is updated."""
    for option in (
        click.option("--yes", is_flag=True, help="Publish. Without it, only the changes are printed."),
        click.option("--collection", metavar="TITLE", help="Collection to add it to, by title or slug."),
        click.option("--move-tag", is_flag=True, help="Move the tag if it exists."),
        click.option("--tag", metavar="NAME", help="Tag for the published revision, such as v1.0.0."),
        click.option("--revision", default="main", show_default=True, metavar="REV", help="Branch, or refs/pr/N."),
        click.option("--create-pr", is_flag=True, help="Open a pull request instead of committing."),
        click.option(
            "--private/--public", default=None, help="Visibility.  [default: unchanged, or the owner's default]"
        ),
    ):
        command = option(command)
    return command


def read_recipe(name: str, languages: tuple[str, ...], limit: int | None, sets: tuple[str, ...]) -> Recipe:
    """The recipe with the command line's changes.

    Raises:
        RecipeError: unreadable, unknown key, bad value.
    """
    from x_instruction.config.recipe import load

    overrides = read_sets(sets)
    # What you type is your own wish, other than what a recipe says.
    allow_keys(str(value) for key, value in overrides.items() if key.endswith("server.key_variable"))
    if limit is not None:
        overrides["corpus.passages"] = limit
    if languages:
        overrides["languages"] = list(languages)
    return load(name, overrides)


def read_sets(sets: tuple[str, ...]) -> dict[str, Any]:
    """Dotted key to value of every ``--set``.

    Raises:
        RecipeError: one is not KEY=VALUE.
    """
    from x_instruction.config.section import toml_value

    overrides: dict[str, Any] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {text!r} is not KEY=VALUE, such as generate.candidates=8")
        overrides[key.strip()] = toml_value(value.strip())
    return overrides


def per_language(out: Path, tags: tuple[str, ...]) -> dict[str, Path]:
    """The output file of each language: ``{tag}`` in the path is replaced by the tag.

    Raises:
        RecipeError: several languages and one file.
    """
    from x_instruction.languages import language

    found = [language(tag).tag for tag in tags]
    if len(found) > 1 and "{tag}" not in str(out):
        raise RecipeError(
            f"--languages names {len(found)} languages and --out one file: put {{tag}} into it, "
            f"such as {out.with_name(f'{{tag}}{out.suffix}')}"
        )
    return {tag: Path(str(out).replace("{tag}", tag)) for tag in found}


def message(error: XInstructionError, arguments: Sequence[str]) -> str:
    """The text of an error, with settings named as the user knows them.

    A key that an option sets is named by the option if that was typed, or if the key is no longer set.

    Args:
        arguments: the command line.
    """
    if not isinstance(error, RunChanged):
        return str(error)
    names = {"overwrite": "--overwrite", "out": "--out"}
    for found in error.differences:
        option = OPTIONS.get(found.key)
        if option and (found.new == "not set" or any(word.split("=")[0] == option for word in arguments)):
            names[found.key] = f"`{option}`"
    return error.text(names)
