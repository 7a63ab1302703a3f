"""AFP's tuning rows (method.md 3.2), each with the parallel instruction that its states are aligned with."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from x_instruction.config.mixing import Afp, MixRecipe
from x_instruction.mixing.allocation import Allocation, AllocationGroup, apportion, even, exact
from x_instruction.mixing.pool import ExamplePool
from x_instruction.mixing.tags import filled


def groups(settings: Afp, mixing: MixRecipe, stock: ExamplePool) -> list[AllocationGroup]:
    """Every item that is whole in all languages, ``repeat`` times; and translations.

    With L languages: ``(1 - cross) / L`` of the rows stay in each; ``cross * (1 - change) / (L - 1)`` go from the pivot
    to each other one, and ``cross * change / (L - 1)`` from each other one to the pivot. A row that stays in one
    language is aligned with the pivot's instruction; one that stays in the pivot, with each other language's in turn.
    """
    pivot, others = mixing.pivot, mixing.others
    whole = (pivot, *others)
    complete = np.ones(len(stock), dtype=bool)
    for tag in whole:
        complete &= stock.has("ask", tag) & stock.has("answer", tag)
    cross, change = exact(settings.cross_probability), exact(settings.change_probability)
    stay = (1 - cross) / len(whole)
    kinds: list[tuple[str, str, str, str, Fraction]] = []
    for tag in others:
        kinds += [
            ("mono", tag, tag, pivot, stay),
            ("mono", pivot, pivot, tag, stay / len(others)),
            ("en2x", pivot, tag, tag, cross * (1 - change) / len(others)),
            ("x2en", tag, pivot, pivot, cross * change / len(others)),
        ]
    counts = apportion(int(complete.sum()) * settings.repeat, [share for *_, share in kinds])
    cells = [
        Allocation(
            shape=shape,
            ask=ask,
            answer=answer,
            count=count,
            tag=filled(settings.tag, answer),
            whole=whole,
            partner=near,
        )
        for (shape, ask, answer, near, _), count in zip(kinds, counts, strict=True)
    ]
    translations = [AllocationGroup(_translations(settings, mixing))] if settings.translation else []
    return [AllocationGroup(cells, uses=settings.repeat), *translations]


def _translations(settings: Afp, mixing: MixRecipe) -> list[Allocation]:
    """Instructions to translate, as many from the pivot as into it, evenly over the other languages."""
    pivot = mixing.pivot
    directions = [(pivot, tag) for tag in mixing.others] + [(tag, pivot) for tag in mixing.others]
    halves = [count for half in even(settings.translation, 2) for count in even(half, len(mixing.others))]
    return [
        Allocation(
            shape="translation",
            ask=ask,
            answer=answer,
            count=count,
            cue=filled(settings.translation_prompt, answer),
            completion="ask",
            partner=answer,
        )
        for (ask, answer), count in zip(directions, halves, strict=True)
    ]
