"""A terminal in memory with 80 columns and 24 lines."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte

COLUMNS, LINES = 80, 24


class Terminal:
    """A command in a terminal.

    Args:
        arguments: of ``x-instruction``.
        folder: the working folder.
    """

    def __init__(self, *arguments: object, folder: Path) -> None:
        # Wider than reported to the command, so that a line that would wrap shows as a long line.
        self.screen = pyte.HistoryScreen(3 * COLUMNS, LINES, history=10_000)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "x_instruction", *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment | {"TERM": "xterm-256color", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        os.close(theirs)
        self.ours = ours

    def pictures(self, timeout: float = 120.0) -> Iterator[tuple[float, list[str]]]:
        """Seconds and the lines on the screen after each piece of output, until the command ends."""
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            if select.select([self.ours], [], [], 0.5)[0]:
                try:
                    piece = os.read(self.ours, 1 << 16)
                except OSError:
                    break
                if not piece:
                    break
                self.raw += piece
                self.stream.feed(piece)
                yield time.monotonic() - started, [line.rstrip() for line in self.screen.display]
        self.process.wait(60)
        os.close(self.ours)

    def finish(self) -> str:
        """Everything that the command printed, with scrolled lines."""
        for _ in self.pictures():
            pass
        return self.text()

    def text(self) -> str:
        """The lines that scrolled away, and those on the screen."""
        gone = ["".join(line[n].data for n in range(3 * COLUMNS)).rstrip() for line in self.screen.history.top]
        return "\n".join([*gone, *(line.rstrip() for line in self.screen.display)]).rstrip()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every process of the terminal, as Ctrl-C does."""
        os.killpg(self.process.pid, number)
