"""Text of recipes, runs and servers of strangers on a terminal: controls and signs of direction are shown escaped."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import factories
import pytest
from command_line import Say

from x_instruction.cli.wrapping import WrappingHandler
from x_instruction.config import recipe
from x_instruction.pipeline.progress import LogProgress, RichProgress
from x_instruction.records import dropped
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE

# Sets the title of a window, colours, clears the screen in one character, turns the direction, and goes to the start.
EVIL = "\x1b]0;t\x07\x1b[31mred\x9b2J\u202egpj.exe\u2066\r"
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
TOML = EVIL.encode("unicode_escape").decode().replace("\\x", "\\u00").replace("\\r", "\\r")


def is_shown_escaped(text: str) -> None:
    """The text is there, and has no character that a terminal obeys."""
    assert "gpj.exe" in text
    assert not UNSAFE.findall(text), ascii(text)


@pytest.mark.parametrize(
    "line",
    [
        f'"{TOML}" = 1',
        f'corpus = {{ source = "sample", "{TOML}" = 1 }}',
        f'name = "{TOML}"',
        f'name = "x"\nlanguages = ["{TOML}"]',
        f'name = "x"\nlanguages = ["fi"]\ncorpus = {{ source = "{TOML}" }}',
    ],
)
def test_control_characters_in_errors_about_recipes_are_escaped(say: Say, tmp_path: Path, line: str) -> None:
    (tmp_path / "recipe.toml").write_text(line, "utf-8")
    code, _, errors = say("run", tmp_path / "recipe.toml", "--out", tmp_path / "run")
    assert (code, errors.count("\n")) == (1, 1)
    is_shown_escaped(errors)


def test_control_characters_in_the_recipe_of_a_run_are_escaped(say: Say, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.mark_layout()
    for content in (f'{{"{TOML}": 1}}', f'"{TOML}"'):
        run.write_file("recipe.json", content.encode())
        code, _, errors = say("status", run.root)
        assert (code, errors.count("\n")) == (1, 1)
        assert f"{run.root}/recipe.json is damaged" in errors
        is_shown_escaped(errors)


def test_control_characters_in_status_are_escaped(say: Say, tmp_path: Path) -> None:
    run, key = RunFolder(tmp_path / "run"), PASSAGE.shard("fi")
    run.mark_layout()
    run.write_file("recipe.json", recipe.dumps(factories.settings(("fi",))).encode())
    run.write(ShardReport(key), [factories.passage(tag="fi"), dropped("fi-1", EVIL)])
    run.write_file("passage/fi/00001.failed.json", b'{"reason": "%s", "attempts": 3}' % TOML.encode())
    code, out, errors = say("status", run.root, "--drops")
    assert code == 0
    is_shown_escaped(out)
    is_shown_escaped(errors or out)


def test_control_characters_in_progress_are_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = io.StringIO()
    log = LogProgress(written)
    log.say(EVIL)
    log.close()
    is_shown_escaped(written.getvalue())
    rich = RichProgress()
    rich.close()
    rich.console.file = io.StringIO()
    rich.say(EVIL)
    is_shown_escaped(rich.console.file.getvalue())
    handler = WrappingHandler()
    handler.emit(logging.LogRecord("x", logging.WARNING, "", 0, EVIL, None, None))
    is_shown_escaped(capsys.readouterr().err)
