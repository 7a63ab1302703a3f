"""Lines for people: escaped, wrapped between words on a terminal, whole in files and pipes."""

from __future__ import annotations

import logging
import shutil
import sys
import textwrap

import click

from x_instruction.terminal import plain


def echo(text: str, err: bool = False) -> None:
    """Print a line, wrapped to the width of the terminal if it goes to one."""
    click.echo(wrapped(plain(text), (sys.stderr if err else sys.stdout).isatty()), err=err)


def wrapped(text: str, terminal: bool) -> str:
    """The text with lines that fit the terminal; unchanged elsewhere, so that programs read one line."""
    if not terminal:
        return text
    # Terminals move the cursor to the next line after their last column.
    width = max(20, shutil.get_terminal_size().columns - 1)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False, replace_whitespace=False)
        for line in text.split("\n")
    )


class WrappingHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Log records on standard error, wrapped as ``echo`` does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. A live display replaces standard error while it is shown."""
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The message of a record."""
        return wrapped(plain(super().format(record)), self.stream.isatty())
