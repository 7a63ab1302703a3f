"""The diversity report as plain text for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from x_instruction.diversify.report import Comparison, Report

_LABELS = {
    "instructions": "instructions",
    "mean_words": "words, mean",
    "mean_chars": "characters, mean",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "distinct_3": "distinct-3",
    "mean_cosine": "cosine of pairs, mean",
    "clusters": "clusters",
    "entropy": "cluster entropy, nats",
    "entropy_share": "cluster entropy, of even",
    "largest_cluster": "share of largest cluster",
    "with_verb": "share with verb and noun",
}


def render(report: Report | Comparison) -> str:
    """A column of values per report, then the verbs with their nouns. A missing value is ``-``."""
    if isinstance(report, Report):
        return "\n".join([*_figures([""], [report]), "", *_verbs("verbs and their nouns", report)])
    titles = [part.name for part in dataclasses.fields(report)]
    figures = _figures(titles, [report.before, report.chance, report.after])
    before, after = (_verbs(f"verbs and their nouns, {when}", getattr(report, when)) for when in ("before", "after"))
    return "\n".join([*figures, "", *before, "", *after])


def _figures(titles: Sequence[str], reports: Sequence[Report]) -> list[str]:
    rows = [["", *titles]] if any(titles) else []
    rows += [[label, *(_figure(getattr(report, field)) for report in reports)] for field, label in _LABELS.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _verbs(title: str, report: Report) -> list[str]:
    if not report.verbs:
        return [f"{title}: none found"]
    width = max(len(verb.verb) for verb in report.verbs)
    counts = max(len(f"{verb.count:,}") for verb in report.verbs)
    return [
        title,
        *(
            f"  {verb.verb.ljust(width)}  {f'{verb.count:,}'.rjust(counts)}  "
            + ", ".join(f"{noun} {count:,}" for noun, count in verb.nouns)
            for verb in report.verbs
        ),
    ]
