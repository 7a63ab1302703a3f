"""``x-instruction engine``."""

from __future__ import annotations

import importlib.util
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.groups import CommandGroup
from x_instruction.cli.tables import Format, emit, format_options
from x_instruction.errors import EngineError
from x_instruction.terminal import plain

if TYPE_CHECKING:
    from x_instruction.engines import Engine, EngineSpec
    from x_instruction.engines.remote.server_check import CheckResult, ServedModel

# Named here because help must not import the engines; a test holds them equal to ``server_check.SERVED``.
SERVED = ("openai", "tgi")
_INDENT = 15


@click.group(cls=CommandGroup)
def command() -> None:
    """Look up the engines that run models, or check a server."""


@command.command("list")
@format_options
def list_engines(form: Format | None) -> None:
    """List the engines: what each can do, and whether it is installed.

    A recipe names one as generate.model.engine and refine.model.engine.
    """
    from x_instruction.engines import ENGINES

    rows: list[dict[str, Any]] = [
        {
            "engine": name,
            "capabilities": list(spec.capabilities),
            "installed": installed(spec),
            "description": spec.description,
        }
        for name, spec in ENGINES.items()
    ]
    if form:
        emit(rows, [], form)
        return
    for row in rows:
        _row(row["engine"], ", ".join(row["capabilities"]))
        _row("", row["description"])
        _row("", row["installed"])


@command.command()
@click.argument("url")
@click.option("--model", metavar="NAME", help="Model to ask for.  [default: the only one that is served]")
@click.option("--engine", type=click.Choice(SERVED), default="openai", show_default=True, help="API of the server.")
@click.option(
    "--key-variable",
    default="X_INSTRUCTION_API_KEY",
    show_default=True,
    metavar="NAME",
    help="Environment variable that holds the API key.",
)
@click.option(
    "--recipe",
    default="one-gpu",
    show_default=True,
    metavar="RECIPE",
    help="Recipe whose prompt is sent for one sample passage.",
)
def check(url: str, model: str | None, engine: str, key_variable: str, recipe: str) -> None:
    """Check the server at URL, such as http://localhost:8000/v1.

    Prints its models, its context length, which kinds of requests it answers and why not the others, and the lines for
    a recipe. Requests single tokens, and one instruction as the recipe asks for it: the answer is shown as it came and
    as it is read. Exits with 1 if the server cannot be used.
    """
    from x_instruction.engines import keys
    from x_instruction.engines.remote.server_check import ServedModel, check_model, check_settings, list_models

    keys.allow([key_variable])
    server = check_settings(url, key_variable)
    served = list_models(engine, server)
    if model is None and len(served) != 1:
        _list(url, served)
        return
    name = served[0].name if model is None else model
    known = next((one for one in served if one.name == name), ServedModel(name))
    looked = check_model(engine, server, name)
    _show(known, looked, served)
    _show_instruction(looked.engine, recipe)
    click.echo("\nin a recipe, in [generate.model] or [refine.model]:")
    click.echo(f'  name = "{plain(name, 300)}"\n  engine = "{engine}"\n  server.url = "{looked.url}"')
    if key_variable != "X_INSTRUCTION_API_KEY":
        click.echo(f'  server.key_variable = "{key_variable}"')


def installed(kind: EngineSpec) -> str:
    """Versions of what an engine needs, or how to install it; nothing is imported."""
    missing = [name for name in kind.packages if importlib.util.find_spec(name) is None]
    if missing:
        return f"not installed: pip install 'x_instruction[{kind.extra}]'"
    if not kind.packages:
        return "needs no package"
    return "installed: " + ", ".join(f"{name} {_version(name)}".strip() for name in kind.packages)


def _version(name: str) -> str:
    """The installed version; empty for a package that is importable without being installed."""
    # Imported here because it takes a third of the time of help.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _list(url: str, served: list[ServedModel]) -> None:
    if not served:
        raise EngineError(f"{url} lists no models: name one with --model")
    click.echo(f"{url} serves {len(served):,} models: choose one with --model")
    for one in served:
        click.echo(f"  {plain(one.name, 300)}")


def _show(known: ServedModel, looked: CheckResult, served: list[ServedModel]) -> None:
    click.echo(f"{looked.url} answers")
    if known.owner:
        _row("server", known.owner)
    others = len(served) - (known in served)
    _row("model", known.name + (f" (and {others:,} more)" if others else ""))
    _row("context", f"{known.context:,} tokens" if known.context else "unknown")
    kinds = [name for name, can in (("plain", looked.plain), ("chat (it has a template)", looked.chat)) if can]
    _row("prompts", ", ".join(kinds))
    if looked.chat and not looked.system_role:
        _row("", "a system message is refused: its text goes into the first user message")
    for verb in ("complete", "choose", "score"):
        why = looked.missing.get(verb)
        how = f", from {looked.logprobs} log-probabilities" if verb == "choose" and looked.logprobs else ""
        _row(verb, f"no: {why}" if why else f"yes{how}")
    _row("one token", f"{looked.seconds:.3f} seconds")


def _show_instruction(engine: Engine, recipe: str) -> None:
    """Ask for one instruction as a recipe does, and show the answer and what is read from it."""
    from x_instruction.config.recipe import load
    from x_instruction.generate.sample import try_sample

    settings = load(recipe)
    tried = try_sample(settings.generate, engine, settings.languages[0], settings.seed)
    _row("instruction", f"asked for with prompt {tried.prompt}, for a passage in {tried.language}")
    _row("answer", tried.answer or "(empty)")
    _row("read as", tried.instruction if tried.reason is None else f"no instruction: {tried.reason}")


def _row(name: str, text: str) -> None:
    width = min(100, shutil.get_terminal_size((80, 24)).columns)
    lines = textwrap.wrap(plain(text, 600), width - _INDENT, break_on_hyphens=False) or [""]
    click.echo(f"{name:<{_INDENT}}{lines[0]}")
    for line in lines[1:]:
        click.echo(" " * _INDENT + line)
