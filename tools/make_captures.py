"""Write docs/terminal.md: what commands show in a terminal of 80 columns and 24 lines.

    python tools/make_captures.py

It needs tmux, and a few minutes on two cores with the embedded models. It fails if a line wraps, or if the display of a
run does not change for more than a second.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.cells import cell_len

TARGET = Path(__file__).parent.parent / "docs" / "terminal.md"
COLUMNS, LINES = 80, 24
SESSION = f"captures-{os.getpid()}"
RUN = "x-instruction run demo --languages fi,th --limit 4 --out look"
HEAD = """# In the terminal

Pictures of a terminal of 80 columns and 24 lines, written by `python tools/make_captures.py` with the embedded models.
No line wraps, and the display of a run changes every second: the longest pause was {pause:.1f} s.
"""


def tmux(*arguments: str) -> str:
    """Run tmux, and return what it prints."""
    return subprocess.run(["tmux", *arguments], check=True, capture_output=True, text=True).stdout


def screen(scrolled: int = 0) -> str:
    """The lines on the screen, and some that scrolled away."""
    return tmux("capture-pane", "-p", "-t", SESSION, "-S", str(-scrolled)).rstrip()


def wait(ended: Callable[[str], bool], timeout: float = 600.0) -> float:
    """Wait for a picture.

    Returns:
        The longest time in seconds without a change of the screen.
    """
    started = changed = time.monotonic()
    longest, before = 0.0, ""
    while time.monotonic() - started < timeout:
        picture = screen()
        if picture != before:
            longest, changed, before = max(longest, time.monotonic() - changed), time.monotonic(), picture
        if ended(picture):
            return longest
        time.sleep(0.1)
    raise SystemExit(f"nothing after {timeout:.0f} s:\n{screen()}")


def prompt(picture: str) -> bool:
    """Whether the shell waits for a command."""
    return picture.endswith("$")


def start(command: str) -> None:
    """Type a command on an empty screen."""
    tmux("send-keys", "-t", SESSION, "clear", "Enter")
    wait(lambda picture: picture == "$")
    tmux("clear-history", "-t", SESSION)
    tmux("send-keys", "-t", SESSION, command, "Enter")
    wait(lambda picture: picture != "$")


def block(title: str, picture: str) -> str:
    """A section of the page.

    Raises:
        SystemExit: a line is as wide as the terminal, so it may have wrapped.
    """
    picture = picture.removesuffix("$").rstrip()
    if wide := [line for line in picture.splitlines() if cell_len(line) > COLUMNS]:
        raise SystemExit(f"{title}: a line is too wide: {wide[0]}")
    return f"\n## {title}\n\n```\n{picture}\n```\n"


def captures() -> str:
    """The page."""
    start("x-instruction preview demo --languages fi --out look")
    wait(prompt)
    sections = [block("A preview", screen(200))]
    start(RUN)
    wait(lambda picture: "tasks" in picture)
    pause = wait(lambda picture: re.search(r"[1-9]\d* tokens/s", picture) is not None)
    sections.append(block("A run", screen()))
    tmux("send-keys", "-t", SESSION, "C-c", "")
    wait(prompt)
    sections.append(block("Ctrl-C", screen()))
    start("x-instruction status look")
    wait(prompt)
    sections.append(block("Its status", screen()))
    start(RUN)
    wait(prompt)
    sections.append(block("The run continues", screen(50)))
    start("x-instruction status look --drops")
    wait(prompt)
    sections.append(block("Dropped rows", screen(50)))
    start("x-instruction show look --limit 1 --no-pager")
    wait(prompt)
    sections.append(block("Its rows", screen(50)))
    return HEAD.format(pause=pause) + "".join(sections)


def main() -> None:
    """Write the page."""
    folder = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as work:
        shell = f"cd {work} && exec env PS1='$ ' PATH={folder}:$PATH LANG=C.UTF-8 bash --norc"
        tmux("-u", "new-session", "-d", "-s", SESSION, "-x", str(COLUMNS), "-y", str(LINES), shell)
        try:
            TARGET.write_text(captures(), "utf-8")
        finally:
            tmux("kill-session", "-t", SESSION)


if __name__ == "__main__":
    main()
