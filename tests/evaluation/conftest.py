"""Fixtures of tests of judges."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from natural_pairs import Natural, Say, make

from x_instruction.cli import main


@pytest.fixture(scope="session")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Natural:
    return make(tmp_path_factory.mktemp("natural"))


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
