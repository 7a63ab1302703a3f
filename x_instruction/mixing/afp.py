"""AFP's rows (arXiv 2311.08089; docs/method.md 3.2), each with the parallel instruction to align its states with."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from x_instruction.config.mixing import Afp, MixRecipe
from x_instruction.mixing.allocation import Allocation, AllocationGroup, apportion, exact, split_evenly
from x_instruction.mixing.pool import ExamplePool
from x_instruction.mixing.tags import format_tag


def groups(settings: Afp, mixing: MixRecipe, pool: ExamplePool) -> list[AllocationGroup]:
    """Every item that is complete in all languages, ``repeat`` times, and the translation rows.

    With L languages, ``(1 - cross) / L`` of the rows stay in each language; ``cross * (1 - change) / (L - 1)`` go from
    the pivot to each other language, and ``cross * change / (L - 1)`` from each other language to the pivot. A row
    within a language is aligned with the pivot's instruction; a row within the pivot with the instruction of another
    language, all of them in equal shares.
    """
    pivot, others = mixing.pivot, mixing.others
    tags = (pivot, *others)
    complete = np.ones(len(pool), dtype=bool)
    for tag in tags:
        complete &= pool.has("instruction", tag) & pool.has("response", tag)
    cross, change = exact(settings.cross_probability), exact(settings.change_probability)
    stay = (1 - cross) / len(tags)
    # Shape, language of the instruction, of the response and of the parallel instruction, and share of the rows.
    shares: list[tuple[str, str, str, str, Fraction]] = []
    for tag in others:
        shares += [
            ("mono", tag, tag, pivot, stay),
            ("mono", pivot, pivot, tag, stay / len(others)),
            ("en2x", pivot, tag, tag, cross * (1 - change) / len(others)),
            ("x2en", tag, pivot, pivot, cross * change / len(others)),
        ]
    counts = apportion(int(complete.sum()) * settings.repeat, [share for *_, share in shares])
    allocations = [
        Allocation(
            shape=shape,
            prompt_language=source,
            language=target,
            count=count,
            tag=format_tag(settings.tag, target),
            required_languages=tags,
            parallel_language=parallel,
        )
        for (shape, source, target, parallel, _), count in zip(shares, counts, strict=True)
    ]
    translations = [AllocationGroup(_translations(settings, mixing))] if settings.translation else []
    return [AllocationGroup(allocations, uses=settings.repeat), *translations]


def _translations(settings: Afp, mixing: MixRecipe) -> list[Allocation]:
    """Instructions to translate: half from the pivot and half into it, in equal shares of the other languages."""
    pivot = mixing.pivot
    directions = [(pivot, tag) for tag in mixing.others] + [(tag, pivot) for tag in mixing.others]
    halves = split_evenly(settings.translation, 2)
    counts = [count for half in halves for count in split_evenly(half, len(mixing.others))]
    return [
        Allocation(
            shape="translation",
            prompt_language=source,
            language=target,
            count=count,
            cue=format_tag(settings.translation_prompt, target),
            completion="instruction",
            parallel_language=target,
        )
        for (source, target), count in zip(directions, counts, strict=True)
    ]
