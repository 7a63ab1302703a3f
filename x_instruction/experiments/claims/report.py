"""The page of results: claims with their verdicts, all figures, and what was left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from x_instruction.experiments.claims.plot import STYLE, plot
from x_instruction.experiments.claims.wording import advice, amount, comparison, expectation, interval, meaning
from x_instruction.pages.page import page
from x_instruction.pages.text import escape

_STYLE = (
    STYLE + "figure{margin:0;overflow-x:auto}td:first-child{min-width:14rem}figure svg{max-width:none}"
    ".mark.contradicted{background:none;border:1px solid var(--bad);color:var(--bad)}"
    ".mark.shown{background:none;border:1px solid var(--good);color:var(--good)}"
)
_HEAD = ("comparison", "figure (95 %)", "expected", "smallest effect", "rows", "seeds", "verdict")
_FIGURES = ("comparison", "figure (95 %)", "unit", "smallest effect", "rows", "seeds")
# Columns that hold numbers.
_NUMBERS = frozenset({"figure (95 %)", "expected", "smallest effect", "rows", "seeds"})


def report(results: Mapping[str, Any]) -> bytes:
    """The page.

    Args:
        results: ``results.json``.
    """
    name = results["design"]
    decisive = [verdict for verdict in results["verdicts"] if verdict["decides"]]
    body = [
        "<main>",
        f"<h1>{escape(name)}: what the experiments show</h1>",
        '<p class="facts">',
        *(f"<span>{label} <b>{escape(value)}</b></span>" for label, value in _facts(results)),
        "</p>",
        f"<p>{_code(results['test'])} The smallest effect is the one that 8 of 10 such experiments find.</p>",
        f'<figure tabindex="0">{plot(decisive, style=False)}</figure>',
        *(_claim(claim, results["verdicts"]) for claim in results["claims"]),
        *_left(results["left"]),
        "<h2>All figures</h2>",
        *_figures(results["figures"]),
        "</main>",
    ]
    return page(f"{name}: results", "\n".join(body), styles=[_STYLE])


def _facts(results: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [
        ("profile", results["profile"]),
        ("model", results["model"]),
        ("documents", f"{results['documents']:,}"),
        ("languages", results["languages"]),
        ("machine", results["machine"]),
    ]


def _claim(claim: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]) -> str:
    own = [verdict for verdict in verdicts if verdict["claim"] == claim["id"]]
    verdict = own[0]["verdict"]
    rows = [
        (
            comparison(one["expected"]),
            interval(one["figure"]),
            expectation(one["expected"]),
            *_power(one["figure"]),
            one["verdict"],
        )
        for one in own
    ]
    return (
        f'<h2 id="{escape(claim["id"])}">{escape(claim["statement"])} '
        f'<span class="mark {escape(verdict)}">{escape(verdict)}</span></h2>'
        f"<p>{escape(claim['method'])} {escape(meaning(own[0]))} <b>{_code(advice(claim, own[0]))}</b> "
        f"{_code(claim.get('remark', ''))}</p>"
        f'<p class="note">{escape(claim["source"])}; experiment {escape(claim["experiment"])}</p>'
        f"{_table(_HEAD, rows)}"
    )


def _code(text: str) -> str:
    """A text with its names in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _power(figure: Mapping[str, Any] | None) -> tuple[object, object, object]:
    if figure is None:
        return "-", "-", "-"
    return amount(figure["smallest"]), figure["rows"], figure["seeds"]


def _left(left: Mapping[str, str]) -> list[str]:
    if not left:
        return []
    rows = [f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in left.items()]
    return ["<h2>What was left</h2>", "<p>The same command continues with these.</p>", "<ul>", *rows, "</ul>"]


def _figures(figures: Iterable[Mapping[str, Any]]) -> list[str]:
    by_experiment: dict[str, list[Mapping[str, Any]]] = {}
    for figure in figures:
        by_experiment.setdefault(figure["experiment"], []).append(figure)
    return [
        f"<details><summary>{escape(name)}: {len(own)} figures</summary>{_table(_FIGURES, map(_figure, own))}</details>"
        for name, own in by_experiment.items()
    ]


def _figure(one: Mapping[str, Any]) -> Sequence[object]:
    return (comparison(one), interval(one), one["unit"], *_power(one))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    marks = [' class="number"' if name in _NUMBERS else "" for name in head]
    top = "".join(f'<th scope="col"{mark}>{escape(name)}</th>' for name, mark in zip(head, marks, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True)) + "</tr>"
        for row in rows
    ]
    body = "".join(lines)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
