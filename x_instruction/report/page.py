"""The page of a report: sections with tables and charts, and the rows as data for its script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from x_instruction.cards.facts import StageFacts
from x_instruction.cards.templates import counted, number
from x_instruction.errors import RecipeError
from x_instruction.evaluation.record import Record
from x_instruction.languages import language
from x_instruction.pages.page import asset, page
from x_instruction.pages.text import escape
from x_instruction.report import charts
from x_instruction.report.compare import compare
from x_instruction.report.figures import SCORE_BINS, LanguageFigures, figures
from x_instruction.report.rows import FIELDS, PageRows, add_dropped, add_kept
from x_instruction.report.similar import near_duplicates, positions
from x_instruction.report.source import Subject, apart

# Texts on the map of instructions, and near-duplicates that are listed of each language.
MAPPED, LISTED = 800, 3
# Examples of each reason in the funnel.
EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """Rows of the sample of a language that are like another.

    Args:
        tag: The language.
        rows: Rows that were compared.
        instructions, responses: Ids, each with what it is like.
    """

    tag: str
    rows: int
    instructions: list[tuple[str, str]]
    responses: list[tuple[str, str]]


def report(
    subject: Subject, other: Subject | None = None, records: Sequence[Record] = (), root: Path | None = None
) -> bytes:
    """The page.

    Args:
        subject: What it is about.
        other: A second set to compare with.
        records: Results of evaluations to show.
        root: Folder of the page. Its script reads Parquet files below it when they are served over HTTP.

    Raises:
        RecipeError: The two sets have no language in common.
        ShardError: A file is damaged.
        MissingExtra: The package that draws charts is not installed.
    """
    if other is not None:
        subject, other = apart(subject, other)
    tags = subject.languages
    shared = _shared(subject, other) if other else []
    measured = {tag: figures(subject, tag) for tag in tags}
    rows = PageRows()
    comparison = None
    if other is not None:
        others = {tag: figures(other, tag) for tag in shared}
        comparison = compare(subject, other, measured, others)
    for tag in tags:
        beside = (other, others[tag]) if other is not None and tag in shared else None
        add_kept(rows, subject, measured[tag], len(tags), beside)
    sampled = len(rows.rows)
    for tag in tags:
        add_dropped(rows, subject, tag)
    verbs = charts.frequent_verbs(sum((one.pairs for one in measured.values()), Counter()))
    body = _template().render(
        subject=subject,
        figures=measured,
        sampled=sampled,
        total=sum(one.rows for one in measured.values()),
        plots=_plots(measured, rows, verbs),
        verbs=verbs,
        stages=list(dict.fromkeys(stage.stage for one in measured.values() for stage in one.stages)),
        effort=_effort(measured.values()),
        examples=_examples(rows),
        similar=_similar(rows),
        records=records,
        comparison=comparison,
    )
    files = _files(subject, tags, measured, root)
    title = f"Report of {subject.title}"
    data = {
        "rows": rows.as_data(),
        "set": {
            "name": subject.name,
            "other": other.name if other else "",
            "total": sum(one.rows for one in measured.values()),
            "sampled": sampled,
            "languages": [[tag, language(tag).name, measured[tag].rows] for tag in tags],
            "files": files,
        },
    }
    # Reads the other rows from their files, where there are files to read.
    scripts = [asset(__package__, name) for name in (*(["parquet.js"] if files else []), "report.js")]
    return page(title, body, data=data, styles=[asset(__package__, "report.css")], scripts=scripts, connect=bool(files))


def _shared(subject: Subject, other: Subject) -> list[str]:
    shared = [tag for tag in subject.languages if tag in other.languages]
    if not shared:
        raise RecipeError(
            f"{subject.name} has {', '.join(subject.languages)} and {other.name} has {', '.join(other.languages)}: "
            "expected a language that both have"
        )
    return shared


def _files(
    subject: Subject, tags: Sequence[str], measured: Mapping[str, LanguageFigures], root: Path | None
) -> dict[str, list[str]]:
    """Language to the paths of its files from the folder of the page, if all of them are below it."""
    if root is None or not subject.folder.is_relative_to(root.resolve()):
        return {}
    return {
        tag: [part.path.relative_to(root.resolve()).as_posix() for part in subject.parts(tag)]
        for tag in tags
        if measured[tag].rows
    }


def _plots(measured: Mapping[str, LanguageFigures], rows: PageRows, verbs: Sequence[charts.Verb]) -> dict[str, Markup]:
    """Name to chart. One without data is left out."""
    plots: dict[str, str] = {}
    funnel = _funnel(measured.values())
    if funnel:
        plots["funnel"] = charts.funnel(funnel, list(dict.fromkeys(row["stage"] for row in funnel)))
    plots["lengths"] = charts.lengths(
        {name: _added(one.lengths[name] for one in measured.values()) for name in ("instruction", "response")}
    )
    if scores := _scores(measured.values()):
        plots["scores"] = charts.scores(scores)
    if verbs:
        plots["verbs"] = charts.verbs(verbs)
    if points := _points(rows):
        plots["clusters"] = charts.clusters(points)
    return {name: Markup(drawn) for name, drawn in plots.items()}


def _funnel(measured: Iterable[LanguageFigures]) -> list[dict[str, Any]]:
    fates: dict[str, Counter[str]] = {}
    for one in measured:
        for stage in one.stages:
            counts = fates.setdefault(stage.stage, Counter())
            counts["kept"] += stage.kept
            counts.update(stage.dropped)
    total: Counter[str] = Counter()
    for counts in fates.values():
        total.update({reason: count for reason, count in counts.items() if reason != "kept"})
    named = {reason for reason, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))[: charts.REASONS]}
    drawn: dict[tuple[str, str], int] = {}
    for stage_name, counts in fates.items():
        for fate in ("kept", *sorted(counts.keys() - {"kept"})):
            name = fate if fate == "kept" or fate in named else "other reasons"
            drawn[stage_name, name] = drawn.get((stage_name, name), 0) + counts[fate]
    return [{"stage": stage, "fate": fate, "records": count} for (stage, fate), count in drawn.items()]


def _scores(measured: Iterable[LanguageFigures]) -> list[dict[str, Any]]:
    """Bins of the scores: of every candidate by round and fate, or of the rows if there is no run."""
    measured = list(measured)
    turns = sorted({turn for one in measured for turn in one.stage_scores})
    groups: dict[str, list[float]] = {
        f"{fate}{f', round {turn}' if len(turns) > 1 else ''}": [] for turn in turns for fate in ("kept", "dropped")
    }
    for one in measured:
        for turn, (kept, lost) in one.stage_scores.items():
            after = f", round {turn}" if len(turns) > 1 else ""
            groups[f"kept{after}"] += kept
            groups[f"dropped{after}"] += lost
        if not one.stage_scores:
            groups.setdefault("rows", []).extend(one.scores.tolist())
    values = np.array([score for scores in groups.values() for score in scores if np.isfinite(score)])
    if not len(values) or values.min() == values.max():
        return []
    edges = np.linspace(values.min(), values.max(), SCORE_BINS + 1)
    return [
        {"low": round(float(low), 4), "high": round(float(high), 4), "group": group, "rows": int(count)}
        for group, scores in groups.items()
        for low, high, count in zip(edges, edges[1:], np.histogram(scores, edges)[0], strict=False)
        if count
    ]


def _points(rows: PageRows) -> list[dict[str, Any]]:
    at = {name: place for place, name in enumerate(FIELDS)}
    kept = [row for row in rows.rows if row[at["cluster"]] is not None]
    step = -(-len(kept) // MAPPED) or 1
    kept = kept[::step]
    if len(kept) < 3:
        return []
    points = positions([row[at["instruction"]] for row in kept])
    usual = [cluster for cluster, _ in Counter(row[at["cluster"]] for row in kept).most_common()]
    named = sorted(usual[: charts.CLUSTERS])
    return [
        {"x": float(x), "y": float(y), "cluster": str(row[at["cluster"]]) if row[at["cluster"]] in named else "other"}
        for row, (x, y) in zip(kept, points, strict=True)
    ]


def _effort(measured: Iterable[LanguageFigures]) -> list[StageFacts]:
    """Sums of each stage over the languages."""
    sums: dict[str, StageFacts] = {}
    for one in measured:
        for stage in one.stages:
            total = sums.setdefault(stage.stage, StageFacts(stage=stage.stage))
            for name in ("seconds", "requests", "prompt_tokens", "output_tokens", "cost"):
                setattr(total, name, getattr(total, name) + getattr(stage, name))
    return list(sums.values())


def _examples(rows: PageRows) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Language, stage and reason to the first dropped rows."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows.rows:
        values = dict(zip(FIELDS, row, strict=True))
        names = {name: rows.pools[name][values[name]] for name in ("language", "stage", "state")}
        if names["state"] != "kept":
            few = found.setdefault((names["language"], names["stage"], names["state"]), [])
            if len(few) < EXAMPLES:
                few.append(values)
    return found


def _similar(rows: PageRows) -> list[Similar]:
    by_tag: dict[str, list[dict[str, Any]]] = {}
    for row in rows.rows:
        values = dict(zip(FIELDS, row, strict=True))
        if rows.pools["state"][values["state"]] == "kept":
            by_tag.setdefault(rows.pools["language"][values["language"]], []).append(values)
    return [
        Similar(
            tag=tag,
            rows=len(kept),
            # Instructions are in English or in the language; words part both well enough.
            instructions=near_duplicates("en", [row["id"] for row in kept], [row["instruction"] for row in kept]),
            responses=near_duplicates(tag, [row["id"] for row in kept], [row["output"] for row in kept]),
        )
        for tag, kept in by_tag.items()
    ]


def _added(lists: Iterable[Sequence[int]]) -> list[int]:
    return [sum(numbers) for numbers in zip(*lists, strict=True)]


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=True,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": lambda value: str(number(value)),
        "counted": lambda count, noun: str(counted(count, noun)),
        "language_name": lambda tag: language(tag).name,
    }
    environment.globals |= {"language": language, "listed": LISTED}
    return environment.get_template("report.html.jinja")


def _safe(value: Any) -> Any:
    """Escape every value, with hidden characters visible."""
    return value if isinstance(value, Markup) else Markup(escape(value))
