"""The README of a data set: metadata, and a body from the rows and the run's reports. No number is typed by hand."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from x_instruction import __version__
from x_instruction.builders.schema import COLUMNS
from x_instruction.cards.facts import Facts, LanguageSet, splits_of
from x_instruction.cards.licenses import license_metadata
from x_instruction.cards.limits import limits
from x_instruction.cards.metadata import metadata, synthetic
from x_instruction.cards.templates import render
from x_instruction.hashing import digest

# How the card's own examples name the data set: the folder that the card is in. Text that is escaped has no brackets,
# so a row cannot look like it.
HERE = "str(Path.cwd())"
_IMPORT = "from pathlib import Path\n\n"
_SUMS = ("seconds", "requests", "prompt_tokens", "output_tokens", "cost")


@dataclass(slots=True)
class Recipe:
    """A recipe of the set, and the languages that were made with it.

    Args:
        name, toml: as its run had it.
        settings: the same, read.
    """

    name: str
    toml: str
    settings: dict[str, Any]
    tags: list[str] = field(default_factory=list)


def readme(sets: Mapping[str, LanguageSet], pretty_name: str) -> str:
    """The whole README: YAML metadata and body.

    Args:
        sets: tag to language, the default first.
        pretty_name: title.
    """
    facts = Facts.over(one.facts for one in sets.values())
    recipes = recipes_of(sets)
    data = metadata(sets, facts, pretty_name)
    data.source_datasets = sorted({one.settings["corpus"].get("dataset", "original") for one in recipes})
    return f"---\n{data.to_yaml()}\n---\n\n{_body(sets, facts, recipes, pretty_name)}"


def located(text: str, repository: str) -> str:
    """A card whose examples load the set from the Hub, by its id there, and not from the card's own folder."""
    return text.replace(f"```python\n{_IMPORT}", "```python\n").replace(HERE, json.dumps(repository))


def told(sets: Mapping[str, LanguageSet], pretty_name: str) -> dict[str, Any]:
    """What the card tells and ``croissant.json`` tells, too: who is to be cited, and which languages are missing."""
    content = digest({tag: one.files for tag, one in sets.items()})
    asked = dict.fromkeys(tag for one in recipes_of(sets) for tag in one.settings["languages"])
    values = {"pretty_name": pretty_name, "content": content, "version": __version__}
    return {
        "citation": render("citation.bib.jinja", values).strip(),
        "missing": [tag for tag in asked if tag not in sets],
    }


def _body(sets: Mapping[str, LanguageSet], facts: Facts, recipes: list[Recipe], pretty_name: str) -> str:
    masked = all(one.settings["corpus"]["filters"]["mask_personal_data"] for one in recipes)
    common = told(sets, pretty_name)
    values = {
        "pretty_name": pretty_name,
        "recipes": recipes,
        "citation": common["citation"],
        "licence": license_metadata(facts.licenses),
        "default": next(iter(sets)),
        "splits": splits_of(sets.values()),
        "sets": sets,
        "facts": facts,
        "synthetic": synthetic(sets),
        "rows": sum(one.rows for one in sets.values()),
        "columns": COLUMNS,
        "effort": _effort(sets),
        "extras": _extras(recipes),
        "limits": limits(synthetic(sets), masked, common["missing"]),
    }
    return render("dataset.md.jinja", values)


def recipes_of(sets: Mapping[str, LanguageSet]) -> list[Recipe]:
    """The recipes that languages were made with, each with its languages."""
    found: dict[str, Recipe] = {}
    for tag, one in sets.items():
        toml = one.made.settings
        recipe = found.setdefault(toml, Recipe(one.made.recipe, toml, tomllib.loads(toml)))
        recipe.tags.append(tag)
    return list(found.values())


def _extras(recipes: list[Recipe]) -> str:
    """What has to be installed to run them, as extras of this package."""
    engines = {"transformers": "transformers", "vllm": "vllm", "openai": "http", "tgi": "http"}
    models = [one.settings[part]["model"] for one in recipes for part in ("generate", "refine")]
    names = {*(one["name"] for one in models), *(one.settings["diversify"]["embedder"] for one in recipes)}
    embedded = any(name.startswith("embedded") for name in names)
    wanted = {engines[one["engine"]] for one in models if one["engine"] in engines}
    wanted.add("embedded" if embedded else "embed")
    # The embedded models come with what runs them.
    return ",".join(sorted(wanted - {"transformers"} if embedded else wanted))


def _effort(sets: Mapping[str, LanguageSet]) -> dict[str, dict[str, float]]:
    """What each stage took, over all languages."""
    sums: dict[str, dict[str, float]] = {}
    for one in sets.values():
        for line in one.made.funnel:
            total = sums.setdefault(line["stage"], dict.fromkeys(_SUMS, 0))
            for name in _SUMS:
                total[name] += line[name]
    sums["all"] = {name: sum(total[name] for total in sums.values()) for name in _SUMS}
    return sums
