"""The README of a data set: metadata, and a body from the rows and the run's reports. No number is typed by hand."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import jinja2

from x_instruction import __version__
from x_instruction.builders.escaping import Ours, escape, model, plain, sample
from x_instruction.builders.facts import Facts, LanguageSet, splits_of
from x_instruction.builders.figures import SAMPLE_CHARS
from x_instruction.builders.licenses import license_metadata, model_terms
from x_instruction.builders.metadata import metadata, synthetic
from x_instruction.builders.schema import COLUMNS
from x_instruction.recipe import digest

# How the card's own examples name the data set: the folder that the card is in. Escaped text has no quotes, so a row
# cannot look like it.
HERE = '"."'
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
    recipes = _recipes(sets)
    data = metadata(sets, facts, pretty_name)
    data.source_datasets = sorted({one.settings["corpus"].get("dataset", "original") for one in recipes})
    return f"---\n{data.to_yaml()}\n---\n\n{_body(sets, facts, recipes, pretty_name)}"


def located(text: str, repository: str) -> str:
    """A card whose examples load the set from the Hub, by its id there, and not from the card's own folder."""
    return text.replace(f"({HERE}", f"({json.dumps(repository)}").replace(f", {HERE}", f", {json.dumps(repository)}")


def environment() -> jinja2.Environment:
    """Templates of cards: what a template shows is escaped unless it is marked as ours, and nothing may be missing."""
    made = jinja2.Environment(finalize=escape, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    filters: dict[str, Callable[..., Any]] = {
        "model": model,
        "ours": Ours,
        "terms": model_terms,
        "number": number,
        "share": lambda value: Ours(f"{value:.1%}"),
        "sample": lambda text: sample(text, SAMPLE_CHARS),
        "reasons": _reasons,
        "bibtex": bibtex,
        "shell": lambda text: Ours(shlex.quote(plain(text))),
    }
    made.filters |= filters
    return made


def template(name: str) -> str:
    """The text of a card's template."""
    return resources.files("x_instruction.model_cards").joinpath(name).read_text("utf-8")


def number(value: float) -> Ours:
    """A number as a person reads it: whole ones with thousands parted, others with three digits that tell."""
    if isinstance(value, int) or abs(value) >= 1000:
        return Ours(f"{value:,.0f}")
    return Ours(f"{value:.3g}")


def bibtex(text: str) -> Ours:
    """Text within the braces of a BibTeX field; what LaTeX or the code block could read as a mark is left out."""
    return Ours(re.sub(r"[\\{}`$%#&_~^<>]", "", plain(text)))


def _body(sets: Mapping[str, LanguageSet], facts: Facts, recipes: list[Recipe], pretty_name: str) -> str:
    asked = dict.fromkeys(tag for one in recipes for tag in one.settings["languages"])
    values = {
        "pretty_name": pretty_name,
        "version": __version__,
        "recipes": recipes,
        "content": digest({tag: one.files for tag, one in sets.items()}),
        "licence": license_metadata(facts.licenses),
        "default": next(iter(sets)),
        "missing": [tag for tag in asked if tag not in sets],
        "splits": splits_of(sets.values()),
        "sets": sets,
        "facts": facts,
        "synthetic": synthetic(sets),
        "masked": all(one.settings["corpus"]["filters"]["mask_personal_data"] for one in recipes),
        "rows": sum(one.rows for one in sets.values()),
        "columns": COLUMNS,
        "effort": _effort(sets),
    }
    return environment().from_string(template("dataset.md.jinja")).render(values)


def _recipes(sets: Mapping[str, LanguageSet]) -> list[Recipe]:
    found: dict[str, Recipe] = {}
    for tag, one in sets.items():
        toml = one.made.settings
        recipe = found.setdefault(toml, Recipe(one.made.recipe, toml, tomllib.loads(toml)))
        recipe.tags.append(tag)
    return list(found.values())


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


def _reasons(reasons: Mapping[str, int]) -> Ours:
    """Reasons with their counts, the most frequent first."""
    order = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return Ours(", ".join(f"{escape(reason)} {count:,}" for reason, count in order))
