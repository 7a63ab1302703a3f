"""The plot of claims: each comparison with its interval and what was expected, as SVG.

Effects have different units, so each row has a scale of its own. All rows have 0 at the same place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from x_instruction.experiments.claims.wording import comparison, interval

_LABEL, _PLOT, _FIGURE, _LINE, _LEGEND = 330, 290, 190, 44, 34
# Where 0 is, as a share of the width of the plot.
_ZERO = 0.25
# Classes of the verdicts, which have a colour.
_CLASSES = {"shown": "shown", "contradicted": "contradicted"}
STYLE = (
    "svg.claims text{font:14px sans-serif;fill:#1b1f24}svg.claims .soft{fill:#57606a;font-size:12px}"
    "svg.claims .zero{stroke:#57606a}svg.claims .expected{fill:#d3dae2}"
    "svg.claims .measured{stroke:#57606a;fill:#57606a;stroke-width:2.5}"
    "svg.claims .measured.shown{stroke:#0072b2;fill:#0072b2}"
    "svg.claims .measured.contradicted{stroke:#d55e00;fill:#d55e00}"
    "@media(prefers-color-scheme:dark){svg.claims text{fill:#e6e9ec}svg.claims .soft{fill:#a2acb6}"
    "svg.claims .zero{stroke:#a2acb6}svg.claims .expected{fill:#3a434d}"
    "svg.claims .measured{stroke:#a2acb6;fill:#a2acb6}svg.claims .measured.shown{stroke:#56b4e9;fill:#56b4e9}"
    "svg.claims .measured.contradicted{stroke:#ff9b5c;fill:#ff9b5c}}"
)


def plot(verdicts: Sequence[Mapping[str, Any]], style: bool = True) -> str:
    """An SVG element with a row for each comparison.

    Args:
        verdicts: those of ``results.json``.
        style: put the colours into the element. Without them, the page has ``STYLE``.
    """
    width, height = _LABEL + _PLOT + _FIGURE, _LINE * len(verdicts) + _LEGEND
    zero = _LABEL + round(_ZERO * _PLOT)
    lines = [
        f'<svg class="claims" xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img"><title>Claims: measured effects and what was expected</title>',
        *([f"<style>{STYLE}</style>"] if style else []),
    ]
    for place, verdict in enumerate(verdicts):
        lines += _row(verdict, place * _LINE)
    bottom = height - _LEGEND
    lines += [
        f'<line class="zero" x1="{zero}" y1="0" x2="{zero}" y2="{bottom}" stroke-dasharray="3 3"/>',
        f'<text class="soft" x="{zero}" y="{bottom + 14}" text-anchor="middle">0</text>',
        f'<rect class="expected" x="{zero + 24}" y="{bottom + 6}" width="24" height="10"/>',
        f'<text class="soft" x="{zero + 54}" y="{bottom + 15}">expected</text>',
        f'<line class="measured" x1="{zero + 120}" y1="{bottom + 11}" x2="{zero + 144}" y2="{bottom + 11}"/>',
        f'<text class="soft" x="{zero + 150}" y="{bottom + 15}">measured, 95 %</text>',
        f'<text class="soft" x="0" y="{bottom + 15}">Each row has its own scale.</text>',
    ]
    return "\n".join([*lines, "</svg>", ""])


def _row(verdict: Mapping[str, Any], top: int) -> list[str]:
    expected, figure = verdict["expected"], verdict["figure"]
    ends = [expected["low"], expected["high"], *((figure["low"], figure["high"]) if figure else ())]
    # So many pixels are 1 that all ends are within the plot.
    room = [(1 - _ZERO) * _PLOT / end for end in ends if end > 0] + [_ZERO * _PLOT / -end for end in ends if end < 0]
    scale = 0.96 * min(room, default=1.0)

    def x(value: float) -> float:
        return round(_LABEL + _ZERO * _PLOT + scale * value, 1)

    left, right = x(expected["low"]), x(expected["high"])
    breadth = max(3, round(right - left, 1))
    lines = [
        f'<text x="0" y="{top + 18}">{escape(verdict["claim"])}</text>',
        f'<text class="soft" x="0" y="{top + 35}">{escape(comparison(expected))}</text>',
        f'<rect class="expected" x="{left}" y="{top + 8}" width="{breadth}" height="26" rx="2"/>',
    ]
    middle, name = top + 21, _CLASSES.get(verdict["verdict"], "open")
    if figure:
        lines += [
            f'<line class="measured {name}" x1="{x(figure["low"])}" y1="{middle}" x2="{x(figure["high"])}" '
            f'y2="{middle}"/>',
            f'<circle class="measured {name}" cx="{x(figure["value"])}" cy="{middle}" r="4.5"/>',
        ]
    side = _LABEL + _PLOT + 14
    return [
        *lines,
        f'<text x="{side}" y="{top + 18}">{escape(interval(figure))}</text>',
        f'<text class="soft" x="{side}" y="{top + 35}">{escape(verdict["verdict"])}</text>',
    ]
