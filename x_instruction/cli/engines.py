"""``x-instruction engines``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import textwrap

import click

from x_instruction.cli.show import plain
from x_instruction.engines import ENGINES, EngineSpec
from x_instruction.engines.remote.server_check import SERVED, Looked, Served, look, models, patient
from x_instruction.errors import EngineError

_INDENT = 15


@click.command()
@click.option("--url", help="Look at the server at this address, as http://localhost:8000/v1.")
@click.option("--model", help="The model to ask it for.  [default: the only one that it serves]")
@click.option("--engine", type=click.Choice(SERVED), default="openai", show_default=True, help="How to speak to it.")
@click.option(
    "--key-variable",
    default="X_INSTRUCTION_API_KEY",
    show_default=True,
    help="Environment variable that holds the server's key.",
)
def command(url: str | None, model: str | None, engine: str, key_variable: str) -> None:
    """List what can run a language model, or look at a running server.

    With --url: who answers there, what it serves, which verbs it can do with a model and why not the others. Nothing
    but single tokens is asked. Exits with 1 when the server cannot be used.
    """
    if url is None:
        if model is not None:
            raise click.UsageError("--model asks a server: name it with --url")
        for name, kind in ENGINES.items():
            _row(name, ", ".join(kind.capabilities))
            _row("", kind.description)
            _row("", installed(kind))
        return
    server = patient(url, key_variable)
    served = models(engine, server)
    if model is None and len(served) != 1:
        _list(url, served)
        return
    name = served[0].name if model is None else model
    known = next((one for one in served if one.name == name), Served(name))
    looked = look(engine, server, name)
    _show(known, looked, served)
    click.echo("\nin a recipe, in [generate.model] or [refine.model]:")
    click.echo(f'  name = "{plain(name)}"\n  engine = "{engine}"\n  server.url = "{looked.url}"')
    if key_variable != "X_INSTRUCTION_API_KEY":
        click.echo(f'  server.key_variable = "{key_variable}"')


def installed(kind: EngineSpec) -> str:
    """Versions of what an engine needs, or how to install it; nothing is imported."""
    missing = [name for name in kind.packages if importlib.util.find_spec(name) is None]
    if missing:
        return f"not installed: pip install 'x_instruction[{kind.extra}]'"
    if not kind.packages:
        return "needs nothing"
    return "installed: " + ", ".join(f"{name} {_version(name)}".strip() for name in kind.packages)


def _version(name: str) -> str:
    """The version as it was installed; nothing for what lies on the path without having been."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _list(url: str, served: list[Served]) -> None:
    if not served:
        raise EngineError(f"{url} lists no models: name one with --model")
    click.echo(f"{url} serves {len(served):,} models: choose one with --model")
    for one in served:
        click.echo(f"  {plain(one.name)}")


def _show(known: Served, looked: Looked, served: list[Served]) -> None:
    click.echo(f"{looked.url} answers")
    if known.owner:
        _row("server", known.owner)
    others = len(served) - (known in served)
    _row("model", known.name + (f" (and {others:,} more)" if others else ""))
    _row("context", f"{known.context:,} tokens" if known.context else "not said")
    kinds = [name for name, can in (("plain", looked.plain), ("chat (it has a template)", looked.chat)) if can]
    _row("prompts", ", ".join(kinds))
    for verb in ("complete", "choose", "score"):
        why = looked.missing.get(verb)
        how = f", from {looked.listed} log-probabilities" if verb == "choose" and looked.listed else ""
        _row(verb, f"no: {why}" if why else f"yes{how}")
    _row("one token", f"{looked.seconds:.3f} seconds")


def _row(name: str, text: str) -> None:
    width = min(100, shutil.get_terminal_size((80, 24)).columns)
    lines = textwrap.wrap(plain(text, 600), width - _INDENT, break_on_hyphens=False) or [""]
    click.echo(f"{name:<{_INDENT}}{lines[0]}")
    for line in lines[1:]:
        click.echo(" " * _INDENT + line)
