"""CrossIn (arXiv 2404.11932; docs/method.md 3.3): languages in equal shares, items drawn with replacement."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from x_instruction.config.mixing import CrossIn, MixRecipe
from x_instruction.mixing.allocation import Allocation, AllocationGroup, eligible, split_evenly
from x_instruction.mixing.pool import ExamplePool
from x_instruction.mixing.tags import format_tag


def groups(settings: CrossIn, mixing: MixRecipe, pool: ExamplePool) -> list[AllocationGroup]:
    """One group per mode, and one for the base rows.

    Without ``size``, a mode has as many rows as there are items that fit one of its allocations.
    """
    result = []
    for mode in settings.modes:
        empty = [_allocation(mode, source, target, 0, settings, mixing) for source, target in _directions(mode, mixing)]
        size = settings.size
        if size is None:
            usable = np.zeros(len(pool), dtype=bool)
            for allocation in empty:
                usable |= eligible(pool, allocation)
            size = int(usable.sum())
        counts = split_evenly(size, len(empty))
        allocations = [
            _allocation(mode, allocation.prompt_language, allocation.language, count, settings, mixing)
            for allocation, count in zip(empty, counts, strict=True)
        ]
        result.append(AllocationGroup(allocations, uses=None))
    if settings.base:
        base = Allocation(shape="base", prompt_language=mixing.pivot, language=mixing.pivot, count=settings.base)
        result.append(AllocationGroup([base]))
    return result


def _directions(mode: str, mixing: MixRecipe) -> list[tuple[str, str]]:
    pivot, others = mixing.pivot, mixing.others
    if mode == "mono":
        return [(tag, tag) for tag in (pivot, *others)]
    if mode == "en2x":
        return [(pivot, tag) for tag in others]
    if mode in ("x2en", "translation"):
        return [(tag, pivot) for tag in others]
    return list(permutations(others, 2))


def _allocation(mode: str, source: str, target: str, count: int, settings: CrossIn, mixing: MixRecipe) -> Allocation:
    if mode == "translation":
        return Allocation(
            shape=mode,
            prompt_language=source,
            language=target,
            count=count,
            cue=format_tag(settings.translation_prompt, mixing.pivot),
            completion="instruction",
        )
    tag = "" if mode == "mono" else format_tag(settings.tag, target)
    return Allocation(shape=mode, prompt_language=source, language=target, count=count, tag=tag)
