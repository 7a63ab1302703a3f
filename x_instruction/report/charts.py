"""The charts of a report. Vega-Lite draws them to SVG here, so the page needs no script for them.

In the page, Vega-Lite would need an interpreter of its expressions, and 772 kB of JavaScript.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from x_instruction.errors import MissingExtra
from x_instruction.report.figures import LENGTH_BINS

Rows = list[dict[str, Any]]
# Version of Vega-Lite that the specifications are written for.
VERSION = "5.20"
WIDTH = 620
# Verbs, nouns of each, stages' reasons and clusters that are drawn. Others are one bar.
VERBS, NOUNS, REASONS, CLUSTERS = 16, 4, 8, 24
# Colours of Okabe and Ito (2008), which people with colour blindness tell apart.
_COLOURS = [
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#8c8c8c",
    "#b5a800",
    "#7a5195",
    "#444444",
]
# Positions on a map have no unit.
_GRID = {"title": None, "labels": False, "ticks": False, "domain": False}
# Behind black words.
_PALE = ["#8fc1e3", "#f2c66d", "#85d0b0", "#e4b6d2", "#c9ced4"]
_CONFIG = {
    "background": None,
    "view": {"stroke": None},
    "font": "sans-serif",
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.5},
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "symbolLimit": 20},
    "range": {"category": _COLOURS},
    "aria": False,
}


def svg(
    values: Rows,
    mark: Mapping[str, Any],
    encoding: Mapping[str, Any],
    height: int | None = None,
    labels: Mapping[str, Any] | None = None,
) -> str:
    """A chart as an SVG element.

    Args:
        values: The data, a mapping for each mark.
        mark, encoding: As in Vega-Lite.
        height: In pixels; by default as the bars need.
        labels: Encoding of a layer of text, beside that of the marks.

    Raises:
        MissingExtra: The package vl-convert-python is not installed.
    """
    try:
        import vl_convert
    except ModuleNotFoundError as error:
        raise MissingExtra("vl_convert", "report") from error
    specification = {
        "data": {"values": values},
        "width": WIDTH,
        **({"height": height} if height else {}),
        "layer": [{"mark": mark, "encoding": encoding}]
        + ([{"mark": {"type": "text", "fontSize": 11}, "encoding": labels}] if labels else []),
        "config": _CONFIG,
    }
    drawn: str = vl_convert.vegalite_to_svg(specification, vl_version=VERSION)
    # The height stays in the viewBox, so that paper can make the chart smaller.
    return re.sub(r'^<svg ([^>]*? width="\d+") height="\d+"', r'<svg \1 focusable="false" aria-hidden="true"', drawn)


def funnel(values: Rows, stages: Sequence[str]) -> str:
    """Records of each stage: kept, and dropped by reason. Rows have ``stage``, ``fate`` and ``records``."""
    fates = list(dict.fromkeys(row["fate"] for row in values))
    ordered = [fate for fate in fates if fate == "kept"] + [fate for fate in fates if fate != "kept"]
    colour = {"field": "fate", "type": "nominal", "title": None, "scale": {"domain": ordered}}
    return svg(
        [{**row, "order": ordered.index(row["fate"])} for row in values],
        {"type": "bar"},
        {
            "y": {"field": "stage", "type": "nominal", "sort": list(stages), "title": None},
            "x": {"field": "records", "type": "quantitative", "title": "records"},
            "color": colour | {"legend": {"orient": "bottom", "columns": 4}},
            "order": {"field": "order"},
        },
    )


def lengths(counts: Mapping[str, Sequence[int]]) -> str:
    """Rows by length: ``counts`` has the rows of each bin of ``LENGTH_BINS``."""
    labels = [*(f"{low:,}–{high - 1:,}" for low, high in itertools.pairwise(LENGTH_BINS))]
    labels.append(f"{LENGTH_BINS[-1]:,}+")
    values = [
        {"text": name, "characters": label, "rows": number}
        for name, numbers in counts.items()
        for label, number in zip(labels, numbers, strict=True)
    ]
    return svg(
        values,
        {"type": "bar"},
        {
            "x": {"field": "characters", "type": "nominal", "sort": labels, "axis": {"labelAngle": -40}},
            "xOffset": {"field": "text"},
            "y": {"field": "rows", "type": "quantitative"},
            "color": {"field": "text", "type": "nominal", "title": None, "legend": {"orient": "bottom"}},
        },
        200,
    )


def scores(values: Rows) -> str:
    """Candidates by score. Rows have ``low`` and ``high`` of the bin, ``group`` and ``rows``."""
    groups = list(dict.fromkeys(row["group"] for row in values))
    return svg(
        values,
        {"type": "bar", "binSpacing": 0},
        {
            "x": {"field": "low", "bin": {"binned": True}, "type": "quantitative", "title": "score"},
            "x2": {"field": "high"},
            "y": {"field": "rows", "type": "quantitative", "title": "candidates"},
            "color": {"field": "group", "type": "nominal", "title": None, "legend": {"orient": "bottom"}}
            | {"scale": {"domain": groups}},
        },
        200,
    )


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of instructions.

    Args:
        verb: The verb.
        count: Instructions with it.
        nouns: Its most frequent nouns, with the number of instructions.
    """

    verb: str
    count: int
    nouns: list[tuple[str, int]]

    @property
    def others(self) -> int:
        """Instructions with other nouns."""
        return self.count - sum(number for _, number in self.nouns)


def frequent_verbs(pairs: Counter[tuple[str, str]]) -> list[Verb]:
    """The most frequent verbs of instructions, each with its most frequent nouns."""
    by_verb: dict[str, Counter[str]] = {}
    for (verb, noun), number in sorted(pairs.items()):
        by_verb.setdefault(verb, Counter())[noun] += number
    found = [Verb(verb, nouns.total(), nouns.most_common(NOUNS)) for verb, nouns in by_verb.items()]
    return sorted(found, key=lambda one: -one.count)[:VERBS]


def verbs(frequent: Sequence[Verb]) -> str:
    """The most frequent verbs, with their most frequent nouns. A noun is written where its part has room for it."""
    names = [*("1st noun", "2nd noun", "3rd noun", "4th noun")[:NOUNS], "other nouns"]
    pixels = 0.8 * WIDTH / max(one.count for one in frequent)
    values: Rows = []
    for one in frequent:
        for place, (noun, number) in enumerate([*one.nouns, ("other", one.others)]):
            label = noun if place < len(one.nouns) and number * pixels > 4 + 6.5 * len(noun) else ""
            group = names[place] if place < len(one.nouns) else names[-1]
            values.append({"verb": one.verb, "place": place, "rows": number, "group": group, "label": label})
    y = {"field": "verb", "type": "nominal", "sort": [one.verb for one in frequent], "title": None}
    stacked = {"field": "rows", "type": "quantitative", "title": "instructions", "stack": "zero"}
    return svg(
        [value for value in values if value["rows"]],
        {"type": "bar"},
        {
            "y": y,
            "x": stacked,
            "color": {"field": "group", "type": "nominal", "title": None, "legend": {"orient": "bottom"}}
            | {"scale": {"domain": names, "range": _PALE}},
            "order": {"field": "place"},
        },
        labels={
            "y": y,
            "x": stacked | {"bandPosition": 0.5},
            "text": {"field": "label"},
            "detail": {"field": "group"},
            "order": {"field": "place"},
            "color": {"value": "#111111"},
        },
    )


def clusters(points: Rows) -> str:
    """The map of instructions: rows have ``x``, ``y`` and ``cluster``."""
    return svg(
        points,
        {"type": "circle", "opacity": 0.7, "size": 28},
        {
            "x": {"field": "x", "type": "quantitative", "axis": _GRID},
            "y": {"field": "y", "type": "quantitative", "axis": _GRID},
            "color": {"field": "cluster", "type": "nominal", "legend": {"orient": "bottom", "columns": 8}},
        },
        380,
    )
