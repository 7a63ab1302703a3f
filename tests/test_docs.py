"""The documents are true: the tree exists, help is current, links lead somewhere, recipes named exist."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest
from click import Context, Group
from click.testing import CliRunner

from x_instruction import __version__
from x_instruction.cli import VERBS, cli
from x_instruction.recipe import Corpus, Diversify, Filters, Generate, Model, Publish, Recipe, Refine, Server, Vllm

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_readme_tree_is_true() -> None:
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


def verbs() -> list[list[str]]:
    """Every verb, and those below a verb."""
    found = []
    for verb in VERBS:
        command = cli.get_command(Context(cli), verb)
        found += [[verb], *([verb, below] for below in (command.commands if isinstance(command, Group) else ()))]
    return found


def help_page() -> str:
    """docs/commands.md as it must be."""
    parts = ["# Commands\n", "Written by `python tests/test_docs.py`; a test holds it current.\n"]
    for arguments in ([], *verbs()):
        line = " ".join(["x-instruction", *arguments, "--help"])
        shown = CliRunner().invoke(cli, [*arguments, "--help"], prog_name="x-instruction", terminal_width=100)
        parts.append(f"```console\n$ {line}\n{shown.output.rstrip()}\n```\n")
    return "\n".join(parts)


SECTIONS = {
    "": Recipe,
    "corpus": Corpus,
    "corpus.filters": Filters,
    "generate": Generate,
    "generate.model, refine.model": Model,
    "generate.model.server, refine.model.server": Server,
    "generate.model.vllm, refine.model.vllm": Vllm,
    "refine": Refine,
    "diversify": Diversify,
    "publish": Publish,
}


def keys(section: type) -> dict[str, str]:
    """Key to its meaning, from the section's docstring."""
    found: dict[str, str] = {}
    block = re.sub(r"\n {12}", " ", (section.__doc__ or "").split("Args:\n")[-1])
    for line in block.splitlines():
        match = re.match(r" {8}((?:\w+, )*\w+): (.*)", line)
        if match:
            found |= dict.fromkeys(match[1].split(", "), match[2])
    return found


def recipes_page() -> str:
    """docs/recipes.md as it must be."""
    parts = [
        "# Recipes\n",
        "Written by `python tests/test_docs.py` from `x_instruction/recipe.py`; a test holds it current.\n",
        "A recipe is one TOML file. Models and corpora have no default; thresholds do. An unknown key is an error.",
        "`x-instruction recipes NAME` prints one with every default written out; a run keeps that in `recipe.json`.\n",
        "This one ships as `files`:\n",
        f"```toml\n{(ROOT / 'recipes' / 'files.toml').read_text('utf-8').rstrip()}\n```\n",
    ]
    for name, section in SECTIONS.items():
        meanings = keys(section)
        parts += [f"## {f'`[{name}]`' if name else 'Top level'}\n", "| key | default | meaning |", "|---|---|---|"]
        for field in dataclasses.fields(section):
            if dataclasses.is_dataclass(field.type) or field.type in ("Corpus", "Generate", "Refine", "Diversify"):
                continue
            if field.type in ("Model", "Filters", "Publish", "Server", "Vllm"):
                continue
            default = "**required**" if field.default is dataclasses.MISSING else f"`{json.dumps(field.default)}`"
            meaning = meanings.get(field.name, "").replace("``", "`").replace("|", "\\|")
            parts.append(f"| `{field.name}` | {default} | {meaning} |")
        parts.append("")
    return "\n".join(parts)


def test_recipes_page_is_current() -> None:
    assert (ROOT / "docs" / "recipes.md").read_text("utf-8") == recipes_page(), "run python tests/test_docs.py"


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_is_explained(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(SECTIONS[name])}
    nested = {"model", "filters", "corpus", "generate", "refine", "diversify", "publish", "server", "vllm"}
    assert fields - nested <= keys(SECTIONS[name]).keys() <= fields | nested


def test_help_blocks_are_current() -> None:
    assert (ROOT / "docs" / "commands.md").read_text("utf-8") == help_page(), "run python tests/test_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links {target}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist(page: Path) -> None:
    for verb in re.findall(r"^(?:\$ )?x-instruction ([a-z][a-z-]*)", page.read_text("utf-8"), re.MULTILINE):
        assert verb in VERBS, f"{page.name} calls x-instruction {verb}"
    for target in re.findall(r"^make (\w+)", page.read_text("utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for script in re.findall(r"python ((?:benchmarks|tests|hub_scripts)/\S+\.py)", page.read_text("utf-8")):
        assert (ROOT / script).exists(), f"{page.name} calls {script}"


def test_changelog_has_unreleased_and_a_version_is_stated_once() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "attr: x_instruction.__version__" in (ROOT / "setup.cfg").read_text("utf-8")
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


if __name__ == "__main__":
    (ROOT / "docs" / "commands.md").write_text(help_page(), "utf-8")
    (ROOT / "docs" / "recipes.md").write_text(recipes_page(), "utf-8")
    sys.stdout.write("docs/commands.md and docs/recipes.md written\n")
