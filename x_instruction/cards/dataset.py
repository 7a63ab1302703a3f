"""The README of a data set: YAML metadata, and a body whose every number comes from the rows and the run's reports."""

from __future__ import annotations

from x_instruction.builders.schema import COLUMNS
from x_instruction.cards.dataset_facts import DatasetFacts
from x_instruction.cards.limits import limits
from x_instruction.cards.metadata import metadata, yaml_text
from x_instruction.cards.plot import PLOT
from x_instruction.cards.templates import render


def readme(facts: DatasetFacts, repository: str | None = None, report: str = "") -> str:
    """The whole README.

    Args:
        facts: Facts over all languages.
        repository: Id on the Hub that the examples load. None for the folder that the card is in.
        report: Name of the report beside the card, or empty.
    """
    values = {
        "data": facts,
        "repository": repository,
        "columns": COLUMNS,
        "limits": limits(facts),
        "report": report,
        "plot": PLOT,
    }
    return f"---\n{yaml_text(metadata(facts))}---\n\n{render('dataset.md.jinja', values)}"
