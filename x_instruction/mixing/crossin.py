"""CrossIn's modes (method.md 3.3): languages are taken evenly, items drawn with replacement."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from x_instruction.config.mixing import CrossIn, MixRecipe
from x_instruction.mixing.allocation import Allocation, AllocationGroup, eligible, even
from x_instruction.mixing.pool import ExamplePool
from x_instruction.mixing.tags import filled


def groups(settings: CrossIn, mixing: MixRecipe, stock: ExamplePool) -> list[AllocationGroup]:
    """One group per mode, and the base.

    ``size`` left out is as many rows as there are items that some cell of the mode can take.
    """
    found = []
    for mode in settings.modes:
        blank = [_cell(mode, ask, answer, 0, settings, mixing) for ask, answer in _directions(mode, mixing)]
        size = settings.size
        if size is None:
            able = np.zeros(len(stock), dtype=bool)
            for cell in blank:
                able |= eligible(stock, cell)
            size = int(able.sum())
        counts = even(size, len(blank))
        cells = [
            _cell(mode, cell.ask, cell.answer, count, settings, mixing)
            for cell, count in zip(blank, counts, strict=True)
        ]
        found.append(AllocationGroup(cells, uses=None))
    if settings.base:
        found.append(
            AllocationGroup([Allocation(shape="base", ask=mixing.pivot, answer=mixing.pivot, count=settings.base)])
        )
    return found


def _directions(mode: str, mixing: MixRecipe) -> list[tuple[str, str]]:
    pivot, others = mixing.pivot, mixing.others
    if mode == "mono":
        return [(tag, tag) for tag in (pivot, *others)]
    if mode == "en2x":
        return [(pivot, tag) for tag in others]
    if mode in ("x2en", "translation"):
        return [(tag, pivot) for tag in others]
    return list(permutations(others, 2))


def _cell(mode: str, ask: str, answer: str, count: int, settings: CrossIn, mixing: MixRecipe) -> Allocation:
    if mode == "translation":
        cue = filled(settings.translation_prompt, mixing.pivot)
        return Allocation(shape=mode, ask=ask, answer=answer, count=count, cue=cue, completion="ask")
    tag = "" if mode == "mono" else filled(settings.tag, answer)
    return Allocation(shape=mode, ask=ask, answer=answer, count=count, tag=tag)
