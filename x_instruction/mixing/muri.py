"""MURI's direction (method.md 3.6): instruction and response in one language, or the same response asked twice."""

from __future__ import annotations

from x_instruction.config.mixing import MixRecipe, Muri
from x_instruction.mixing.allocation import Allocation, AllocationGroup, eligible, even
from x_instruction.mixing.pool import ExamplePool


def groups(settings: Muri, mixing: MixRecipe, stock: ExamplePool) -> list[AllocationGroup]:
    """A group per language; each response is used once, whatever language it is asked in."""
    return [_group(settings, mixing.pivot, tag, stock) for tag in mixing.languages]


def _group(settings: Muri, pivot: str, tag: str, stock: ExamplePool) -> AllocationGroup:
    asks = {"target": [tag], "pivot": [pivot], "both": [tag, pivot]}[settings.instruction_language]
    blank = [Allocation(shape="mono" if ask == tag else "en2x", ask=ask, answer=tag, count=0) for ask in asks]
    able = [eligible(stock, cell) for cell in blank]
    rows = min(settings.cap, int((able[0] | able[-1]).sum()))
    counts = even(rows, len(asks))
    if len(asks) == 2:
        # Where one half lacks matter, the other takes its place.
        counts[1] = max(min(counts[1], int(able[1].sum())), rows - int(able[0].sum()))
        counts[0] = rows - counts[1]
    cells = [
        Allocation(shape=cell.shape, ask=cell.ask, answer=tag, count=count)
        for cell, count in zip(blank, counts, strict=True)
    ]
    return AllocationGroup(cells)
