"""The tree of commands: groups, help, old names, misspelt names, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

from x_instruction.cli import MOVED, SECTIONS, cli

Path = tuple[str, ...]


def commands(group: click.Group = cli, path: Path = ()) -> Iterator[tuple[Path, click.Command]]:
    """Every command below a group, with the words that call it."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())


def call(*arguments: str, width: int = 80) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="x-instruction", terminal_width=width)


def test_top_level_help_has_few_entries_in_sections() -> None:
    assert len([path for path in COMMANDS if len(path) == 1]) <= 22
    shown = call("--help").output
    places = [shown.index(f"\n{title}:\n") for title in SECTIONS]
    assert places == sorted(places)


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_help_fits_80_columns(path: Path) -> None:
    done = call(*path, "--help")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage:")]


# The same name is the same option everywhere: type, and the sentence that says what it does.
@pytest.mark.parametrize("name", ["limit", "languages", "sets", "out", "overwrite", "workers", "form"])
def test_an_option_has_the_same_type_and_help_in_every_command(name: str) -> None:
    found = [p for command in COMMANDS.values() for p in command.params if p.name == name and name != "form"]
    kinds = {(type(p.type), p.multiple, tuple(p.opts)) for p in found if isinstance(p, click.Option)}
    assert len(kinds) <= 1
    starts = {"limit": "Use at most N", "languages": "Language tags", "sets": "Set a key", "overwrite": "Replace"}
    for option in found:
        assert isinstance(option, click.Option)
        assert (option.help or "").startswith(starts.get(name, ""))


def test_every_option_has_a_help_text_and_one_spelling() -> None:
    options = [
        (path, option)
        for path, command in COMMANDS.items()
        for option in command.params
        if isinstance(option, click.Option)
    ]
    assert not [(path, option.opts) for path, option in options if not option.help]
    spelt = {name for _, option in options for name in option.opts}
    assert not spelt & {"--language", "--lang", "--redo", "--age", "--against", "--per-language", "--to"}


@pytest.mark.parametrize("name", MOVED)
def test_an_old_name_is_refused_with_the_new_one(name: str) -> None:
    done = call(name, "--anything")
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for new in MOVED[name]:
        assert tuple(new.split()) in COMMANDS
        assert f"`x-instruction {new}`" in line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "error: `x-instruction` has no command 'trian', did you mean 'train'?"),
        (["hub", "push-modle"], "error: `x-instruction hub` has no command 'push-modle', did you mean 'push-model'?"),
        (["engine", "lst"], "error: `x-instruction engine` has no command 'lst', did you mean 'list'?"),
        (["seeds", "oasst.jsonl"], "error: `x-instruction seeds` has no command 'oasst.jsonl' (commands: collect, "),
    ],
)
def test_an_unknown_command_gets_a_suggestion(arguments: list[str], line: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "demo", "--redo"], "--redo is now --overwrite"),
        (["eval", "held-out", "m", "d", "--against", "x.json"], "--against is now --baseline"),
        (["seeds", "collect", "d", "--against", "x.json"], "--against is now --exclude-eval"),
        (["show", "runs/demo", "--age", "rated"], "--age is now --stage"),
    ],
)
def test_an_unknown_option_gets_a_suggestion(arguments: list[str], line: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert line in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [("x-instruction ", "preview"), ("x-instruction eval ", "held-out"), ("x-instruction run demo --l", "--limit")],
)
def test_completion_offers_commands_options_and_values(words: str, expected: str) -> None:
    variables = {"_X_INSTRUCTION_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    line = [sys.executable, "-c", "from x_instruction.cli import main; main()"]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60)
    assert expected in [row.split(",")[1] for row in done.stdout.splitlines()]


def test_the_completion_script_is_printed() -> None:
    line = [sys.executable, "-c", "from x_instruction.cli import main; main()"]
    variables = {"_X_INSTRUCTION_COMPLETE": "bash_source"}
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60)
    assert "_X_INSTRUCTION_COMPLETE=bash_complete" in done.stdout
