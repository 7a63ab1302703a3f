"""Ctrl-C and other signals: one line that says what is kept, the signal's exit code, and a run that continues."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import child

from x_instruction.cli import cli
from x_instruction.cli.groups import CommandGroup
from x_instruction.cli.interrupt import catch_signals
from x_instruction.errors import ShardError

Write = Callable[..., Path]


class Finalized:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGHUP)


def in_finally(kind: type[Exception]) -> None:
    try:
        signal.raise_signal(signal.SIGHUP)
    finally:
        raise kind("the terminal is gone")


def in_finalizer(kind: type[Exception]) -> None:
    """Python drops the exception that the handler raises."""
    Finalized()
    raise kind("the terminal is gone")


@pytest.mark.usefixtures("handlers")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [OSError, ShardError])
@pytest.mark.parametrize("signalled", [in_finally, in_finalizer])
def test_an_error_after_a_signal_does_not_hide_it(
    kind: type[Exception], signalled: Callable[[type[Exception]], None]
) -> None:
    group = CommandGroup("program")
    group.command("signalled")(lambda: signalled(kind))

    @group.command()
    def work() -> None:
        raise kind("the terminal is gone")

    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    catch_signals()
    assert isinstance(CliRunner().invoke(group, ["work"]).exception, kind)
    done = CliRunner().invoke(group, ["signalled"])
    assert done.exit_code == 128 + signal.SIGHUP
    assert "ended by SIGHUP" in done.output


@pytest.mark.usefixtures("heard")
def test_a_forked_process_ends_at_once() -> None:
    catch_signals()
    forked = multiprocessing.get_context("fork").Process(target=signal.raise_signal, args=(signal.SIGTERM,))
    forked.start()
    forked.join(60)
    assert forked.exitcode == -signal.SIGTERM


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("workers", "after", "number", "message"),
    [
        (1, "corpus: fi", signal.SIGINT, "interrupted"),
        (2, "corpus: 2 tasks", signal.SIGHUP, "ended by SIGHUP"),
        (2, "generate: fi", signal.SIGINT, "interrupted"),
        (1, "corpus: fi", signal.SIGTERM, "ended by SIGTERM"),
    ],
)
def test_an_interrupted_run_continues(
    recipe_file: Write, tmp_path: Path, workers: int, after: str, number: signal.Signals, message: str
) -> None:
    root = tmp_path / "run"
    line = [sys.executable, "-m", "x_instruction", "run", str(recipe_file()), "--out", str(root), "--until", "generate"]
    line += ["--languages", "fi,th", "--workers", str(workers)]
    with child(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as run:
        assert run.stderr is not None
        line_before = next(text for text in run.stderr if text.startswith(after))
        # Like a terminal, send it to every process of the group.
        os.killpg(run.pid, number)
        out, errors = run.communicate(timeout=120)
    assert run.returncode == 128 + number, line_before + errors
    last = errors.splitlines()[-1]
    assert last == f"{message}: finished shards and answers are kept in {root}; rerun the same command to continue"
    assert "Traceback" not in errors
    assert "Aborted" not in errors
    assert out == ""
    done = subprocess.run(line, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_an_interrupted_command_without_results_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("x_instruction.config.recipe.names", interrupted)
    done = CliRunner().invoke(cli, ["recipe", "list"])
    assert done.exit_code == 130
    assert done.stderr == "interrupted: rerun the same command to start again\n"
