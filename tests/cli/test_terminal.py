"""What a person sees in a terminal of 80 columns: a display that always moves, and no line that wraps."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from cli.terminal import COLUMNS, Terminal
from engines.openai_server import OpenAIServer, write_recipe
from rich.cells import cell_len

SLOW = ("--set", "generate.model.server.concurrency=1", "--set", "corpus.shard_size=100")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a recipe whose server takes a quarter of a second for each request."""
    with OpenAIServer(fault=lambda path, body: time.sleep(0.25)) as server:
        write_recipe(tmp_path / "recipe.toml", server.url)
        yield tmp_path


def fits(text: str) -> bool:
    """Whether every line fits."""
    return all(cell_len(line) <= COLUMNS for line in text.splitlines())


@pytest.mark.usefixtures("heard")
def test_the_progress_display_changes_every_second_until_interrupted(folder: Path) -> None:
    line = ("run", "recipe.toml", "--out", "run", "--languages", "fi", "--workers", 1, *SLOW)
    running = Terminal(*line, folder=folder)
    shown: list[tuple[float, str]] = []
    for at, lines in running.pictures():
        assert fits("\n".join(lines))
        live = [text for text in lines if re.search(r"generate fi .*tasks", text)]
        if live and shown and at - shown[0][0] > 3:
            running.send(signal.SIGINT)
        if live and (not shown or "\n".join(lines) != shown[-1][1]):
            shown.append((at, "\n".join(lines)))
    times = [at for at, _ in shown]
    assert len(times) > 6
    # Half of them: now and then, a busy machine does something else.
    assert median(later - earlier for earlier, later in pairwise(times)) < 1
    assert re.search(r"([2-9]|\d\d) requests, [\d,]+ tokens/s, \d+s", shown[-1][1])
    assert running.process.returncode == 130
    text = running.text()
    assert fits(text)
    words = " ".join(text.split())
    assert words.endswith(
        "interrupted: finished shards and answers are kept in run; rerun the same command to continue"
    )
    assert "tasks" not in text, "the display is removed"
    status = Terminal("status", "run", folder=folder).finish()
    assert fits(status)
    assert [row.split()[:2] for row in status.splitlines()[:2]] == [["language", "passages"], ["fi", "12"]]
    rows = Terminal("show", "run", "--limit", 1, "--no-pager", folder=folder).finish()
    assert fits(rows)
    assert "  fi-" not in rows


@pytest.mark.usefixtures("heard")
def test_closing_the_terminal_ends_the_run(folder: Path) -> None:
    line = ("run", "recipe.toml", "--out", "run", "--languages", "fi", "--workers", 1, *SLOW)
    running = Terminal(*line, folder=folder)
    next(lines for _, lines in running.pictures() if "generate fi" in "\n".join(lines))
    # The kernel sends the signal before it refuses what is written.
    running.send(signal.SIGHUP)
    os.close(running.ours)
    assert running.process.wait(60) == 128 + signal.SIGHUP
    assert "12" in Terminal("status", "run", folder=folder).finish()


def test_a_preview_fits_80_columns(folder: Path) -> None:
    preview = Terminal("preview", "recipe.toml", "--out", "run", "--languages", "th", folder=folder)
    text = preview.finish()
    assert preview.process.returncode == 0, text
    assert fits(text)
    assert text.count(" chosen") == 3
    assert b"\x1b[1;32m" in preview.raw, "the chosen row is in colour"


def test_a_long_error_wraps_between_words(folder: Path) -> None:
    shown = Terminal("show", "run-that-is-not-there-and-has-a-long-name/and/more", folder=folder).finish()
    assert fits(shown)
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) > 1
