"""MURI's direction (method.md 3.6): instruction and response in one language, or the same response asked twice."""

from __future__ import annotations

from x_instruction.tuning.mixing.cells import Cell, Group, eligible, even
from x_instruction.tuning.mixing.recipe import Mixing, Muri
from x_instruction.tuning.mixing.stock import Stock


def groups(settings: Muri, mixing: Mixing, stock: Stock) -> list[Group]:
    """A group per language; each response is used once, whatever language it is asked in."""
    return [_group(settings, mixing.pivot, tag, stock) for tag in mixing.languages]


def _group(settings: Muri, pivot: str, tag: str, stock: Stock) -> Group:
    asks = {"target": [tag], "pivot": [pivot], "both": [tag, pivot]}[settings.instruction_language]
    blank = [Cell(shape="mono" if ask == tag else "en2x", ask=ask, answer=tag, count=0) for ask in asks]
    able = [eligible(stock, cell) for cell in blank]
    rows = min(settings.cap, int((able[0] | able[-1]).sum()))
    counts = even(rows, len(asks))
    if len(asks) == 2:
        # Where one half lacks matter, the other takes its place.
        counts[1] = max(min(counts[1], int(able[1].sum())), rows - int(able[0].sum()))
        counts[0] = rows - counts[1]
    cells = [
        Cell(shape=cell.shape, ask=cell.ask, answer=tag, count=count) for cell, count in zip(blank, counts, strict=True)
    ]
    return Group(cells)
