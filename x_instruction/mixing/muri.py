"""MURI (arXiv 2409.12958; docs/method.md 3.6): the instruction in the language of the response, the pivot, or both."""

from __future__ import annotations

import dataclasses

from x_instruction.config.mixing import MixRecipe, Muri
from x_instruction.mixing.allocation import Allocation, AllocationGroup, eligible, split_evenly
from x_instruction.mixing.pool import ExamplePool
from x_instruction.mixing.tags import SEPARATOR, format_tag


def groups(settings: Muri, mixing: MixRecipe, pool: ExamplePool) -> list[AllocationGroup]:
    """One group per language. Each response is used once, whatever the language of its instruction."""
    return [_group(settings, mixing.pivot, tag, pool) for tag in mixing.languages]


def _group(settings: Muri, pivot: str, tag: str, pool: ExamplePool) -> AllocationGroup:
    sources = {"target": [tag], "pivot": [pivot], "both": [tag, pivot]}[settings.instruction_language]
    # Without it, nothing in the prompt says which language the answer is to be in.
    cue = format_tag(settings.pivot_tag, tag)
    empty = [
        Allocation(shape="mono", prompt_language=source, language=tag, count=0)
        if source == tag
        else Allocation(
            shape="en2x", prompt_language=source, language=tag, count=0, tag=cue, separator=SEPARATOR if cue else ""
        )
        for source in sources
    ]
    usable = [eligible(pool, allocation) for allocation in empty]
    rows = min(settings.cap, int((usable[0] | usable[-1]).sum()))
    counts = split_evenly(rows, len(sources))
    if len(sources) == 2:
        # If one half has too few items, the other half gets its rows.
        counts[1] = max(min(counts[1], int(usable[1].sum())), rows - int(usable[0].sum()))
        counts[0] = rows - counts[1]
    return AllocationGroup(
        [dataclasses.replace(allocation, count=count) for allocation, count in zip(empty, counts, strict=True)]
    )
