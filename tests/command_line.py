"""Command lines that a test runs in its own process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from x_instruction.cli import main

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command line in this process: exit code, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["x-instruction", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        return int(ended.value.code or 0), done.out, done.err

    return run
