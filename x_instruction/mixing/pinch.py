"""A pinch of multilinguality (method.md 3.4): a fixed budget, each item in one language only."""

from __future__ import annotations

from fractions import Fraction

from x_instruction.config.mixing import MixRecipe, Pinch
from x_instruction.mixing.allocation import Allocation, AllocationGroup, apportion, even, exact
from x_instruction.mixing.pool import ExamplePool


def groups(settings: Pinch, mixing: MixRecipe, stock: ExamplePool) -> list[AllocationGroup]:
    """One group: an item that is used in one language is used in no other."""
    tags = (mixing.pivot, *mixing.others)
    cells = [
        Allocation(shape="mono", ask=tag, answer=tag, count=count)
        for tag, count in zip(tags, counts(settings, len(mixing.others)), strict=True)
    ]
    return [AllocationGroup(cells)]


def counts(settings: Pinch, others: int) -> list[int]:
    """Rows of the pivot, then of each other language.

    P percent go evenly to all languages with the pivot among them and the rest to the pivot, so each other language has
    a share of P / 100 / L. ``k_examples`` are spread over the others alone.
    """
    if settings.k_examples:
        return [settings.budget - settings.k_examples, *even(settings.k_examples, others)]
    share = exact(settings.percent or 0) / 100 / (others + 1)
    return apportion(settings.budget, [Fraction(1) - share * others, *[share] * others])
