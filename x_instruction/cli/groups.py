"""Groups of commands: each command is a module, imported when it is called or described."""

from __future__ import annotations

import contextlib
import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from x_instruction.cli.interrupt import ended_by, interrupted
from x_instruction.cli.wrapping import echo
from x_instruction.errors import XInstructionError

# Options of earlier versions, and what took their place: in a command that has it, or always.
RENAMED = {
    "--age": ["--stage"],
    "--against": ["--baseline", "--exclude-eval"],
    "--dry-run": ["the command `x-instruction preview`"],
    "--per-language": ["--limit"],
    "--redo": ["--overwrite"],
    "--rows": ["--limit"],
    "--to": ["--languages"],
}


class CommandGroup(click.Group):
    """A group that imports a command's module only when the command is called or described.

    Args:
        package: the package whose modules hold the commands, each as ``command``.
        sections: titles of the help to the names of commands, in the order in which help lists them.
        moved: names that are no longer commands, to those that took their place.
    """

    def __init__(
        self,
        *arguments: Any,
        package: str = "",
        sections: Mapping[str, Sequence[str]] | None = None,
        moved: Mapping[str, Sequence[str]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self.package = package
        self.sections = sections or {}
        self.moved = moved or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the work."""
        return [name for names in self.sections.values() for name in names] or list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None if the group has no such command."""
        if cmd_name in self.commands or cmd_name not in self.list_commands(ctx):
            return self.commands.get(cmd_name)
        module = importlib.import_module(f"{self.package}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name.

        Raises:
            UnknownCommand: there is none.
        """
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UnknownCommand(self._unknown(ctx, args[0]))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. An interrupt ends it with one line and the exit code that shells give to the signal."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            new = _renamed(error.option_name, error.ctx)
            if not new:
                raise
            raise click.UsageError(f"{error.option_name} is now {new}", error.ctx) from None
        except (KeyboardInterrupt, OSError, XInstructionError) as error:
            signalled = ended_by(error)
            if ctx.parent is not None or signalled is None:
                raise
            line, code = interrupted(ctx, signalled)
            with contextlib.suppress(OSError):
                echo(line, err=True)
            ctx.exit(code)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, one line for each."""
        if not self.sections:
            super().format_commands(ctx, formatter)
            return
        width = max(map(len, self.list_commands(ctx)))
        for title, names in self.sections.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            room = formatter.width - width - 6
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), c.get_short_help_str(room)) for name, c in commands if c is not None]
                )

    def _unknown(self, ctx: click.Context, name: str) -> str:
        path = "x-instruction" + "".join(f" {c.info_name}" for c in _below(ctx))
        if name in self.moved:
            return f"`{path} {name}` is now {' or '.join(f'`{path} {new}`' for new in self.moved[name])}"
        close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
        hint = f", did you mean '{close[0]}'?" if close else ""
        return f"`{path}` has no command '{name}'{hint} (commands: {', '.join(self.list_commands(ctx))})"


class UnknownCommand(click.ClickException):
    """A name that is no command."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the error as one line."""
        echo(f"error: {self.message}", err=True)


def _renamed(name: str, ctx: click.Context | None) -> str:
    """What took the place of an option in a command; empty if nothing did."""
    known = {option for parameter in ctx.command.params for option in parameter.opts} if ctx else set()
    return next((new for new in RENAMED.get(name, ()) if new in known or not new.startswith("-")), "")


def _below(ctx: click.Context) -> list[click.Context]:
    """Contexts from the one below the program to this one."""
    found: list[click.Context] = []
    while ctx.parent is not None:
        found.insert(0, ctx)
        ctx = ctx.parent
    return found
