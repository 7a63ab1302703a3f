"""Mixing: combine rows of data sets into prompts with completions, in the exact counts that a recipe declares.

    pairs -> ExamplePool -> a mixer's AllocationGroups -> items that fill them -> rows, shuffled

Draws depend on ids, the seed and the recipe, never on the order of files or rows.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from x_instruction.config.mixing import MixRecipe
from x_instruction.mixing.allocation import Allocation, AllocationGroup, fill
from x_instruction.mixing.pool import ExamplePool, Kind, mix_hash


class Mixer(Protocol):
    """A mixing method: a function in a module of this folder."""

    # Positional parameters, since the settings of each mixer have another type.
    def __call__(self, settings: object, mixing: MixRecipe, pool: ExamplePool, /) -> list[AllocationGroup]:
        """The allocations for a section of the recipe."""


MIXERS = {
    "crossin": "x_instruction.mixing.crossin:groups",
    "pinch": "x_instruction.mixing.pinch:groups",
    "afp": "x_instruction.mixing.afp:groups",
    "humpback": "x_instruction.mixing.tags:humpback",
    "x_instruction": "x_instruction.mixing.tags:x_instruction",
    "muri": "x_instruction.mixing.muri:groups",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A prompt with its completion.

    Args:
        id: ``<recipe>-<number>``, numbered in the order of the mix.
        prompt: the instruction with its input below it, and the tag.
        completion: the text that the model learns to generate.
        prompt_language, language: language of the instruction, and of the completion.
        mixer: section of the recipe.
        shape: type of the row, such as ``mono`` or ``en2x``.
        tag: end of the prompt, or empty.
        kind: ``seed`` or ``web``.
        source_id: id of the item in the data.
        source, license: source and licence of the completion.
        sentence, parallel: the instruction, and the same in another language, whose states AFP aligns; or empty.
    """

    id: str
    prompt: str
    completion: str
    prompt_language: str
    language: str
    mixer: str
    shape: str
    tag: str
    kind: Kind
    source_id: str
    source: str
    license: str
    sentence: str
    parallel: str


def mixer(name: str) -> Mixer:
    """The mixer of a section. Imports its module."""
    module, function = MIXERS[name].split(":")
    loaded: Mixer = getattr(importlib.import_module(module), function)
    return loaded


def groups(mixing: MixRecipe, pool: ExamplePool) -> Iterator[tuple[str, int, AllocationGroup]]:
    """The allocation groups of all sections, as (section, number in the section, group)."""
    for name in mixing.sections():
        for number, group in enumerate(mixer(name)(getattr(mixing, name), mixing, pool)):
            yield name, number, group


def mix(mixing: MixRecipe, pool: ExamplePool) -> tuple[int, Iterator[Row]]:
    """The number of rows, and an iterator over them that reads texts one by one.

    Args:
        mixing: the recipe.
        pool: the items, after ``freeze``.

    Raises:
        CorpusError: there are not enough items for the recipe's counts.
    """
    allocations: list[tuple[str, Allocation]] = []
    numbers, items = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
    for name, number, group in groups(mixing, pool):
        filled = fill(f"{name}.{number}", group, pool, mixing.seed)
        for allocation, own in zip(group.allocations, filled, strict=True):
            numbers.append(np.full(len(own), len(allocations), dtype=np.intp))
            items.append(own)
            allocations.append((name, allocation))
    # For each row, the number of its allocation and its item.
    row_allocations, row_items = np.concatenate(numbers), np.concatenate(items)
    keys = mix_hash(np.arange(len(row_items), dtype=np.uint64), mixing.seed, "order")
    order = np.argsort(keys, kind="stable")

    def rows() -> Iterator[Row]:
        for number, index in enumerate(order):
            section, allocation = allocations[row_allocations[index]]
            yield _row(f"{mixing.name}-{number:07d}", section, allocation, int(row_items[index]), pool)

    return len(order), rows()


def _row(id: str, section: str, allocation: Allocation, item: int, pool: ExamplePool) -> Row:
    instruction = pool.text("instruction", allocation.prompt_language, item).text
    completion = pool.text(allocation.completion, allocation.language, item)
    kind, source_id = pool.id(item)
    cue = f"{allocation.cue}\n" if allocation.cue else ""
    tag = allocation.separator + allocation.tag if allocation.tag else ""
    parallel = allocation.parallel_language
    return Row(
        id=id,
        prompt=cue + instruction + tag,
        completion=completion.text,
        prompt_language=allocation.prompt_language,
        language=allocation.language,
        mixer=section,
        shape=allocation.shape,
        tag=allocation.tag,
        kind=kind,
        source_id=source_id,
        source=completion.source,
        license=completion.license,
        sentence=instruction if parallel else "",
        parallel=pool.text("instruction", parallel, item).text if parallel else "",
    )
