"""The README of a data set: metadata, and a body from the rows and the run's reports. No number is typed by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from x_instruction.builders.escaping import Ours, escape, model
from x_instruction.builders.facts import Facts, LanguageSet, splits_of
from x_instruction.builders.metadata import metadata, synthetic
from x_instruction.builders.schema import COLUMNS
from x_instruction.engines.embedded import terms
from x_instruction.recipe import Recipe
from x_instruction.records import AGES
from x_instruction.shards import Run


def readme(sets: Mapping[str, LanguageSet], facts: Facts, digests: Mapping[str, str], recipe: Recipe, run: Run) -> str:
    """The whole README: YAML metadata and body.

    Args:
        sets: tag to language, the default first.
        facts: facts over all languages.
        digests: config to digest of its files.
        recipe: names the set.
        run: its reports give the counts.
    """
    data = metadata(sets, facts, digests, recipe.publish.pretty_name)
    return f"---\n{data.to_yaml()}\n---\n\n{_body(sets, facts, recipe, run)}"


def _body(sets: Mapping[str, LanguageSet], facts: Facts, recipe: Recipe, run: Run) -> str:
    environment = jinja2.Environment(
        finalize=escape, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"model": model, "ours": Ours, "terms": lambda name: terms(name.rpartition(":")[2])}
    template = resources.files("x_instruction.model_cards").joinpath("dataset.md.jinja").read_text("utf-8")
    return environment.from_string(template).render(
        pretty_name=recipe.publish.pretty_name,
        recipe=recipe.name,
        seed=recipe.seed,
        default=next(iter(sets)),
        splits=splits_of(sets.values()),
        sets=sets,
        facts=facts,
        synthetic=synthetic(sets),
        rows=sum(one.rows for one in sets.values()),
        columns=COLUMNS,
        funnel=funnel(run, sets),
    )


def funnel(run: Run, tags: Mapping[str, object]) -> list[dict[str, Any]]:
    """Records in, kept and dropped by reason, per language and age, summed over the reports of the shards."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for age in AGES:
        for report in run.reports(age):
            if report.language in tags:
                key = (report.language, age)
                line = sums.setdefault(key, {"rows_in": 0, "kept": 0, "dropped": Counter()})
                line["rows_in"] += report.rows_in
                line["kept"] += report.kept
                line["dropped"].update(report.dropped)
    order = [(tag, age) for tag in tags for age in AGES if (tag, age) in sums]
    return [{"language": tag, "age": age, **sums[tag, age]} for tag, age in order]
