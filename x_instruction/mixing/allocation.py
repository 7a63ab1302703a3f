"""Allocations: exact numbers of rows of one shape in one pair of languages, and the items that fill them.

All shares are rounded by largest remainders: each allocation gets the integer part of its share, and the remaining rows
go one each to the largest fractional parts, the first ones in case of a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from x_instruction.errors import CorpusError
from x_instruction.mixing.pool import ExamplePool, Kind, mix_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A number of rows of one shape in one pair of languages.

    Args:
        shape: ``mono``, ``en2x``, ``x2en``, ``x2x``, ``translation``, or the mixer's own name.
        prompt_language: language of the instruction.
        language: language of the completion.
        count: number of rows.
        tag: end of the prompt, or empty.
        separator: text between the instruction and the tag.
        cue: first line of the prompt, or empty.
        completion: which text of the item is the completion: its response, or its instruction in ``language``.
        kind: kind of the items that fill it; None for any.
        required_languages: languages in which an item must have both an instruction and a response.
        parallel_language: language of the parallel instruction that is added to the row, or None.
    """

    shape: str
    prompt_language: str
    language: str
    count: int
    tag: str = ""
    separator: str = "\n"
    cue: str = ""
    completion: Literal["instruction", "response"] = "response"
    kind: Kind | None = None
    required_languages: tuple[str, ...] = ()
    parallel_language: str | None = None

    @property
    def name(self) -> str:
        """Identifies the allocation among those of its mixer. Draws depend on it."""
        parallel = self.parallel_language or ""
        return f"{self.kind or 'any'}:{self.shape}:{self.prompt_language}>{self.language}:{parallel}"


@dataclass(frozen=True, slots=True)
class AllocationGroup:
    """Allocations that draw from the same items.

    Args:
        allocations: each is filled exactly.
        uses: how often an item may be used over all of them; None for drawing with replacement.
    """

    allocations: Sequence[Allocation]
    uses: int | None = 1


def exact(number: float) -> Fraction:
    """A float as the fraction that was written: 0.1 is one tenth."""
    return Fraction(repr(number))


def apportion(total: int, weights: Sequence[Fraction | int]) -> list[int]:
    """Integers in proportion to the weights, which add up to ``total``; rounded by largest remainders."""
    sum_of_weights = sum(weights)
    if not sum_of_weights:
        return [0] * len(weights)
    shares = [Fraction(total) * weight / sum_of_weights for weight in weights]
    counts = [int(share) for share in shares]
    remaining = total - sum(counts)
    by_remainder = sorted(range(len(shares)), key=lambda index: (counts[index] - shares[index], index))
    for index in by_remainder[:remaining]:
        counts[index] += 1
    return counts


def split_evenly(total: int, parts: int) -> list[int]:
    """``total`` in parts that differ by at most one, the larger ones first."""
    return apportion(total, [1] * parts)


def eligible(pool: ExamplePool, allocation: Allocation) -> npt.NDArray[np.bool_]:
    """Which items can fill an allocation, ``(items,)``."""
    items = pool.has("instruction", allocation.prompt_language) & pool.has(allocation.completion, allocation.language)
    for tag in allocation.required_languages:
        items &= pool.has("instruction", tag) & pool.has("response", tag)
    if allocation.parallel_language:
        items &= pool.has("instruction", allocation.parallel_language)
    return items & pool.of_kind(allocation.kind) if allocation.kind else items


def fill(mixer: str, group: AllocationGroup, pool: ExamplePool, seed: int) -> list[npt.NDArray[np.intp]]:
    """The items of each allocation. They depend on ids, seed and recipe only.

    Allocations with the fewest eligible items choose first. Among its items, an allocation takes those used least so
    far, then those that the fewest allocations can use, then by hash.

    Raises:
        CorpusError: there are not enough items.
    """
    keys = pool.keys(seed)
    used = np.zeros(len(pool), dtype=np.int64)
    filled: list[npt.NDArray[np.intp]] = [np.empty(0, dtype=np.intp)] * len(group.allocations)
    candidates = [np.flatnonzero(eligible(pool, allocation)) for allocation in group.allocations]
    # In how many allocations each item could be used.
    demand = np.bincount(np.concatenate([np.empty(0, dtype=np.intp), *candidates]), minlength=len(pool))
    for index in sorted(range(len(candidates)), key=lambda index: (len(candidates[index]), index)):
        allocation, items = group.allocations[index], candidates[index]
        if group.uses is None:
            available = allocation.count if len(items) else 0
        else:
            left = np.maximum(group.uses - used[items], 0)
            available = int(left.sum())
        if available < allocation.count:
            raise CorpusError(
                f"{mixer}: the recipe needs {allocation.count} rows of {allocation.shape} "
                f"({allocation.prompt_language} to {allocation.language}) and the data has {available}: "
                "add data in these languages, or lower the counts"
            )
        if group.uses is None:
            draws = mix_hash(np.arange(allocation.count, dtype=np.uint64), seed, mixer, allocation.name)
            filled[index] = items[(draws % np.uint64(max(len(items), 1))).astype(np.intp)]
            continue
        # Each item as often as it may still be used; ``turn`` is the number of uses before each of these.
        repeated = np.repeat(items, left)
        turn = used[repeated] + np.arange(len(repeated)) - np.repeat(np.cumsum(left) - left, left)
        order = np.lexsort((mix_hash(keys[repeated], mixer, allocation.name), demand[repeated], turn))
        filled[index] = repeated[order[: allocation.count]]
        np.add.at(used, filled[index], 1)
    return filled
