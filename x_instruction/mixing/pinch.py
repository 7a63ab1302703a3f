"""A pinch of multilinguality (arXiv 2401.01854; docs/method.md 3.4): a fixed budget, each item in one language only."""

from __future__ import annotations

from fractions import Fraction

from x_instruction.config.mixing import MixRecipe, Pinch
from x_instruction.mixing.allocation import Allocation, AllocationGroup, apportion, exact, split_evenly
from x_instruction.mixing.pool import ExamplePool


def groups(settings: Pinch, mixing: MixRecipe, pool: ExamplePool) -> list[AllocationGroup]:
    """One group of all languages, so that an item is used in one of them only."""
    tags = (mixing.pivot, *mixing.others)
    allocations = [
        Allocation(shape="mono", prompt_language=tag, language=tag, count=count)
        for tag, count in zip(tags, counts(settings, len(mixing.others)), strict=True)
    ]
    return [AllocationGroup(allocations)]


def counts(settings: Pinch, others: int) -> list[int]:
    """Rows of the pivot, followed by the rows of each other language.

    With ``percent``, that part of the budget is divided equally among all languages, the pivot included, and the rest
    goes to the pivot. With ``k_examples``, so many rows are divided among the other languages alone.
    """
    if settings.k_examples:
        return [settings.budget - settings.k_examples, *split_evenly(settings.k_examples, others)]
    share = exact(settings.percent or 0) / 100 / (others + 1)
    return apportion(settings.budget, [Fraction(1) - share * others, *[share] * others])
