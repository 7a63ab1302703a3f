"""Cells: so many rows of one shape in one pair of languages; and which items fill them.

Rounding rule, everywhere: every cell gets its whole part, and the rows that are left go one each to the largest
remainders, of equal ones to the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from x_instruction.errors import CorpusError
from x_instruction.mixing.pool import ExamplePool, Kind, mix_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """So many rows of one kind.

    Args:
        shape: ``mono``, ``en2x``, ``x2en``, ``x2x`` or ``translation``, or what a mixer calls it.
        ask: language of the instruction.
        answer: language of the completion.
        count: rows.
        tag: what the prompt ends with, or empty.
        joint: what stands before the tag.
        cue: what the prompt begins with, on a line of its own, or empty.
        completion: the item's response, or the instruction in another language.
        kind: which items fill it; any when None.
        whole: languages in which an item must be both asked and answered.
        partner: language of the parallel instruction that goes with the row, or None.
    """

    shape: str
    ask: str
    answer: str
    count: int
    tag: str = ""
    joint: str = "\n"
    cue: str = ""
    completion: str = "answer"
    kind: Kind | None = None
    whole: tuple[str, ...] = ()
    partner: str | None = None

    @property
    def name(self) -> str:
        """How the cell is told from the others of its mixer."""
        return f"{self.kind or 'any'}:{self.shape}:{self.ask}>{self.answer}:{self.partner or ''}"


@dataclass(frozen=True, slots=True)
class AllocationGroup:
    """Cells that share items.

    Args:
        cells: each filled to the row.
        uses: how often an item may be used over all of them; any number of times, drawn with replacement, when None.
    """

    cells: Sequence[Allocation]
    uses: int | None = 1


def exact(number: float) -> Fraction:
    """A number as it was written: 0.1 is a tenth."""
    return Fraction(repr(number))


def apportion(total: int, weights: Sequence[Fraction | int]) -> list[int]:
    """Whole numbers in proportion to weights that add up to ``total``, by largest remainders."""
    everything = sum(weights)
    if not everything:
        return [0] * len(weights)
    shares = [Fraction(total) * weight / everything for weight in weights]
    counts = [int(share) for share in shares]
    left = total - sum(counts)
    by_remainder = sorted(range(len(shares)), key=lambda place: (counts[place] - shares[place], place))
    for place in by_remainder[:left]:
        counts[place] += 1
    return counts


def even(total: int, number: int) -> list[int]:
    """``total`` in ``number`` parts that differ by one at most, the larger first."""
    return apportion(total, [1] * number)


def eligible(stock: ExamplePool, cell: Allocation) -> npt.NDArray[np.bool_]:
    """Which items can fill a cell, ``(items,)``."""
    found = stock.has("ask", cell.ask) & stock.has(cell.completion, cell.answer)
    for tag in cell.whole:
        found &= stock.has("ask", tag) & stock.has("answer", tag)
    if cell.partner:
        found &= stock.has("ask", cell.partner)
    return found & stock.kinds(cell.kind) if cell.kind else found


def fill(mixer: str, group: AllocationGroup, stock: ExamplePool, seed: int) -> list[npt.NDArray[np.intp]]:
    """Items of each cell; nothing but ids, seed and recipe decides which.

    Cells that few items can fill choose first. An item that was used less goes first, then one that fewer cells could
    use; then chance decides.

    Raises:
        CorpusError: there are not enough items.
    """
    keys = stock.keys(seed)
    used = np.zeros(len(stock), dtype=np.int64)
    filled: list[npt.NDArray[np.intp]] = [np.empty(0, dtype=np.intp)] * len(group.cells)
    can = [np.flatnonzero(eligible(stock, cell)) for cell in group.cells]
    wanted = np.bincount(np.concatenate([np.empty(0, dtype=np.intp), *can]), minlength=len(stock))
    for place in sorted(range(len(can)), key=lambda place: (len(can[place]), place)):
        cell, items = group.cells[place], can[place]
        if group.uses is None:
            room = cell.count if len(items) else 0
        else:
            left = np.maximum(group.uses - used[items], 0)
            room = int(left.sum())
        if room < cell.count:
            raise CorpusError(
                f"{mixer}: {cell.count} rows of {cell.shape} ({cell.ask} to {cell.answer}) are wanted and there is "
                f"matter for {room}: give more data in these languages, or ask for fewer"
            )
        if group.uses is None:
            draws = mix_hash(np.arange(cell.count, dtype=np.uint64), seed, mixer, cell.name)
            filled[place] = items[(draws % np.uint64(max(len(items), 1))).astype(np.intp)]
            continue
        again = np.repeat(items, left)
        turn = used[again] + np.arange(len(again)) - np.repeat(np.cumsum(left) - left, left)
        order = np.lexsort((mix_hash(keys[again], mixer, cell.name), wanted[again], turn))
        filled[place] = again[order[: cell.count]]
        np.add.at(used, filled[place], 1)
    return filled
