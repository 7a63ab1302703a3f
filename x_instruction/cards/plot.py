"""The plot of a card: rows of each language as an SVG file, drawn from the facts that the manifest publishes.

Publishing draws it again for a merged data set, on machines where no plotting package is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from x_instruction.cards.facts import LanguageSet
from x_instruction.cards.templates import number

PLOT = "languages.svg"
# Languages with a bar. All others are one bar.
MOST = 40
_LABEL, _BAR, _FIGURE, _LINE = 190, 460, 90, 26
_STYLE = (
    "text{font:14px sans-serif;fill:#1b1f24}.n{fill:#57606a}.b{fill:#0072b2}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e9ec}.n{fill:#a2acb6}.b{fill:#56b4e9}}"
)


def plot(sets: Mapping[str, LanguageSet]) -> str:
    """A bar for the rows of each language, the largest first."""
    ordered = sorted(sets.values(), key=lambda one: (-one.rows, one.tag))
    bars = [(one.language.name, one.rows) for one in ordered[:MOST]]
    if rest := ordered[MOST:]:
        bars.append((f"{len(rest)} others", sum(one.rows for one in rest)))
    longest = max(rows for _, rows in bars)
    width, height = _LABEL + _BAR + _FIGURE, _LINE * len(bars) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>Rows of each language</title><style>{_STYLE}</style>'
    ]
    for place, (name, rows) in enumerate(bars):
        top = 4 + _LINE * place
        size = max(2, round(_BAR * rows / longest))
        lines += [
            f'<text x="{_LABEL - 10}" y="{top + 18}" text-anchor="end">{escape(_short(name))}</text>',
            f'<rect class="b" x="{_LABEL}" y="{top + 4}" width="{size}" height="{_LINE - 8}" rx="2"/>',
            f'<text class="n" x="{_LABEL + size + 8}" y="{top + 18}">{number(rows)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
