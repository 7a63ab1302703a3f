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
from x_instruction.config import mixing
from x_instruction.config.recipe import (
    Corpus,
    Diversify,
    Filters,
    Generate,
    Model,
    Publish,
    Recipe,
    Refine,
    Seeds,
    Server,
    TrainConfig,
    Vllm,
)

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
    "seeds": Seeds,
    "corpus": Corpus,
    "corpus.filters": Filters,
    "generate": Generate,
    "generate.model, refine.model": Model,
    "generate.model.server, refine.model.server": Server,
    "generate.model.vllm, refine.model.vllm": Vllm,
    "refine": Refine,
    "generate.tune, refine.tune": TrainConfig,
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
        "Written by `python tests/test_docs.py` from `x_instruction/config/recipe.py`; a test holds it current.\n",
        "A recipe is one TOML file. Models and corpora have no default; thresholds do. An unknown key is an error.",
        "`x-instruction recipes NAME` prints one with every default written out, as a run keeps it in `recipe.json`;",
        "`x-instruction recipes NAME --toml > my-recipe.toml` makes a file to change.\n",
        "This one ships as `files`:\n",
        f"```toml\n{(ROOT / 'recipes' / 'files.toml').read_text('utf-8').rstrip()}\n```\n",
    ]
    for name, section in SECTIONS.items():
        meanings = keys(section)
        parts += [f"## {f'`[{name}]`' if name else 'Top level'}\n", "| key | default | meaning |", "|---|---|---|"]
        for field in dataclasses.fields(section):
            if field.type.removesuffix(" | None") in {kind.__name__ for kind in (*SECTIONS.values(), Filters)}:
                continue
            default = "**required**" if field.default is dataclasses.MISSING else f"`{json.dumps(field.default)}`"
            meaning = meanings.get(field.name, "").replace("``", "`").replace("|", "\\|")
            parts.append(f"| `{field.name}` | {default} | {meaning} |")
        parts.append("")
    return "\n".join(parts)


MIXING = {
    "": mixing.MixRecipe,
    "crossin": mixing.CrossIn,
    "pinch": mixing.Pinch,
    "afp": mixing.Afp,
    "humpback": mixing.Humpback,
    "x_instruction": mixing.XInstruction,
    "muri": mixing.Muri,
}

MIXING_HEAD = """# Mixing recipes

Written by `python tests/test_docs.py` from `x_instruction/config/mixing.py`; a test holds it current.

`x-instruction mix RECIPE DATA... --out FOLDER` writes prompts with their completions in `train-*.parquet`, the rows
that could not be used in `dropped.parquet`, and `mix.json`: counts by section, shape, language, direction and
tag, and the tags to ask with when the tuned model is used. `x-instruction mix` lists the recipes that ship.

- **Items.** Rows with one `id` (or, with `align = "position"`, one place in their files) are one item: it is asked in
  the `instruction_language` and answered in the `language` of each. A row of a built data set is asked in English and
  answered in its language; add a row with the same id for its translated instruction, or for an English pair.
- **Counts are exact.** Every cell (a shape, in one pair of languages) gets the whole part of its share; the rows that
  are left go one each to the largest remainders, of equal ones to the first. A count that a recipe states (`size`,
  `base`, `budget`, `seeds`, `web`, `translation`) is met or is an error; where none is stated, and below a `cap`, the
  mix takes what fits. No row at all is an error, and a language that got none is named.
- **Draws.** Ids, `seed` and recipe decide every draw; the order of files and rows does not. An item is used once,
  unless the section says otherwise.

This one ships as `pinch-six`:
"""


def mixing_page() -> str:
    """docs/mixing.md as it must be."""
    shipped = (ROOT / "recipes" / "mixing" / "pinch-six.toml").read_text("utf-8").rstrip()
    parts = [MIXING_HEAD, f"```toml\n{shipped}\n```\n"]
    for name, section in MIXING.items():
        meanings = keys(section)
        about = " ".join((section.__doc__ or "").split("Args:")[0].split()).replace("``", "`")
        parts += [f"## {f'`[{name}]`' if name else 'Top level'}\n", f"{about}\n"]
        parts += ["| key | default | meaning |", "|---|---|---|"]
        for field in dataclasses.fields(section):
            if field.name in MIXING:
                continue
            default = "**required**" if field.default is dataclasses.MISSING else f"`{json.dumps(field.default)}`"
            meaning = meanings.get(field.name, "").replace("``", "`").replace("|", "\\|")
            parts.append(f"| `{field.name}` | {default} | {meaning} |")
        parts.append("")
    return "\n".join(parts)


def test_mixing_page_is_current() -> None:
    assert (ROOT / "docs" / "mixing.md").read_text("utf-8") == mixing_page(), "run python tests/test_docs.py"


@pytest.mark.parametrize("name", MIXING)
def test_every_mixing_key_is_explained(name: str) -> None:
    assert {field.name for field in dataclasses.fields(MIXING[name])} == keys(MIXING[name]).keys()


def test_recipes_page_is_current() -> None:
    assert (ROOT / "docs" / "recipes.md").read_text("utf-8") == recipes_page(), "run python tests/test_docs.py"


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_is_explained(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(SECTIONS[name])}
    nested = {"model", "filters", "corpus", "generate", "refine", "diversify", "publish", "server", "vllm", "seeds"}
    nested |= {"tune"}
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
    for script in re.findall(
        r"python ((?:benchmarks|tests|examples|tools|hub_scripts)/\S+\.py)", page.read_text("utf-8")
    ):
        assert (ROOT / script).exists(), f"{page.name} calls {script}"


def test_changelog_has_unreleased_and_a_version_is_stated_once() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "attr: x_instruction.__version__" in (ROOT / "setup.cfg").read_text("utf-8")
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


if __name__ == "__main__":
    (ROOT / "docs" / "commands.md").write_text(help_page(), "utf-8")
    (ROOT / "docs" / "recipes.md").write_text(recipes_page(), "utf-8")
    (ROOT / "docs" / "mixing.md").write_text(mixing_page(), "utf-8")
    sys.stdout.write("docs/commands.md, docs/recipes.md and docs/mixing.md written\n")
