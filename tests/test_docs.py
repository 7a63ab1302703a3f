"""Documentation is current: the tree exists, help is current, links have targets, named recipes exist."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import click
import make_docs
import pytest

from x_instruction import __version__
from x_instruction.cli import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_tree_in_the_readme_is_current() -> None:
    block = (ROOT / "README.md").read_text("utf-8").split("## The tree")[1].split("```")[1]
    folder, named = ROOT, set()
    for line in block.strip().splitlines():
        name, gloss = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        folder = ROOT if not line.startswith(" ") else folder
        path = (folder / name) if line.startswith(" ") else ROOT / name
        assert path.exists(), f"README names {path.relative_to(ROOT)}, which is not there"
        assert gloss
        named.add(path)
        if not line.startswith(" "):
            folder = path
    there = {p for p in ROOT.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    inside = {
        p
        for p in (ROOT / "x_instruction").iterdir()
        if (p.suffix == ".py" and not p.name.startswith("__")) or (p / "__init__.py").exists()
    }
    assert (there | inside) - named == set(), "the tree of the README lacks these"


@pytest.mark.parametrize("name", make_docs.PAGES)
def test_a_page_made_from_the_code_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == make_docs.PAGES[name](), "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_have_targets(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links {target}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist(page: Path) -> None:
    known = set(make_docs.commands())
    groups = {path[:1] for path in known if len(path) > 1}
    for words in re.findall(r"(?:^|\$ |`)x-instruction((?: [a-z][a-z-]*)+)", page.read_text("utf-8"), re.MULTILINE):
        path = tuple(words.split())
        assert path[: 2 if path[:1] in groups else 1] in known, f"{page.name} calls x-instruction{words}"
    for target in re.findall(r"^make (\w+)", page.read_text("utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for script in re.findall(
        r"python ((?:benchmarks|tests|examples|tools|hub_scripts)/\S+\.py)", page.read_text("utf-8")
    ):
        assert (ROOT / script).exists(), f"{page.name} calls {script}"


def command_lines(text: str) -> list[list[str]]:
    """The words after `x-instruction` of each command line in the blocks of a page, up to a redirection."""
    blocks = "\n".join(re.findall(r"^```(?:bash|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^ *(?:\$ )?x-instruction (.*)$", blocks.replace("\\\n", " "), re.MULTILINE)
    words = (shlex.split(line, comments=True) for line in lines)
    return [list(takewhile(lambda word: word not in (">", "|", ";"), line)) for line in words]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "commands.md"], ids=lambda p: p.name)
def test_command_lines_have_options_and_arguments_that_exist(page: Path) -> None:
    for words in command_lines(page.read_text("utf-8")):
        command: click.Command | None = cli
        rest = list(words)
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), rest.pop(0))
        assert command is not None
        # Parses the line, and does not run it.
        command.make_context(" ".join(words), rest)


def test_changelog_has_unreleased_and_a_version_is_stated_once() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "attr: x_instruction.__version__" in (ROOT / "setup.cfg").read_text("utf-8")
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
