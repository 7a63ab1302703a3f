"""What a command prints when a signal ends it: Ctrl-C, ``kill``, or a terminal that closes."""

from __future__ import annotations

import os
import signal

import click

_KEY = "x_instruction.kept"


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP. Code that cleans up after an interrupt does so after these, too.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


_received: Ended | None = None
_process = 0


def catch_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, except where they are ignored, as ``nohup`` has it."""
    global _received, _process
    _received, _process = None, os.getpid()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def kept(text: str) -> None:
    """State what the running command keeps if a signal ends it.

    Args:
        text: a clause such as ``finished shards are kept in runs/demo; rerun the same command to continue``.
    """
    click.get_current_context().meta[_KEY] = text


def interrupted(ctx: click.Context, error: KeyboardInterrupt) -> tuple[str, int]:
    """The line to print after an interrupt, and the exit code: 128 and the number of the signal, as shells have it."""
    clause = ctx.meta.get(_KEY, "rerun the same command to start again")
    if isinstance(error, Ended):
        return f"ended by {signal.Signals(error.number).name}: {clause}", 128 + error.number
    return f"interrupted: {clause}", 128 + signal.SIGINT


def ended_by(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt that an error is or hides; None for other errors.

    A command that ends cleans its terminal up. If that is gone, the writes fail, and their error takes the place of the
    signal. Python also drops what a handler raises while an object is finalized.
    """
    return error if isinstance(error, KeyboardInterrupt) else _received


def _end(number: int, _: object) -> None:
    if os.getpid() != _process:
        # A forked process, such as one of a pool: an exception there would keep the locks that it holds.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    global _received
    _received = Ended(number)
    raise _received
