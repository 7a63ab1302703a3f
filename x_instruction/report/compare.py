"""Two data sets side by side: what they share, and how the figures of each language differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from x_instruction.languages import Language
from x_instruction.report.figures import LanguageFigures
from x_instruction.report.source import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageComparison:
    """One language in both sets.

    Args:
        language: The language.
        responses: Responses that both sets have.
        only_first, only_second: Responses that one set has.
        figures: Name of a figure to its values in both sets.
    """

    language: Language
    responses: int
    only_first: int
    only_second: int
    figures: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sets.

    Args:
        first, second: Their names.
        languages: The languages that both have.
        missing: Tags of languages that only the first, and only the second has.
    """

    first: str
    second: str
    languages: list[LanguageComparison]
    missing: tuple[list[str], list[str]]


def compare(
    subject: Subject,
    other: Subject,
    first: Mapping[str, LanguageFigures],
    second: Mapping[str, LanguageFigures],
) -> Comparison:
    """Compare the languages of ``second``, which both sets have."""
    return Comparison(
        first=subject.name,
        second=other.name,
        languages=[_language(first[tag], second[tag]) for tag in second],
        missing=(
            [tag for tag in subject.languages if tag not in second],
            [tag for tag in other.languages if tag not in second],
        ),
    )


def _language(first: LanguageFigures, second: LanguageFigures) -> LanguageComparison:
    shared = first.hashes.keys() & second.hashes.keys()
    one, two = _figures(first), _figures(second)
    return LanguageComparison(
        language=first.language,
        responses=len(shared),
        only_first=len(first.hashes) - len(shared),
        only_second=len(second.hashes) - len(shared),
        figures={name: (one[name], two[name]) for name in one},
    )


def _figures(of: LanguageFigures) -> dict[str, float]:
    return {
        "rows": of.rows,
        "median characters of an instruction": of.spreads["instruction"].median,
        "median characters of a response": of.spreads["response"].median,
        "mean score": of.spreads["score"].mean,
        "mean confidence of the language": of.spreads["confidence"].mean,
        "repeated instructions": of.repeated,
        "different verb-noun pairs": len(of.pairs),
        "clusters": len(of.clusters),
        "sources": len({source for source, _ in of.origins}),
    }
