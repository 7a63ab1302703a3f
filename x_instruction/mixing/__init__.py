"""Mixing: rows of data sets in, prompts with their completions out, in counts that a recipe declares.

    pairs -> Stock -> a mixer's groups of cells -> items that fill them -> rows, shuffled

No draw depends on the order of files or rows: everything derives from ids, the seed and the recipe.
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
    """A way to mix; a function in a module of this folder."""

    # Parameters are positional: each mixer has settings of its own type.
    def __call__(self, settings: object, mixing: MixRecipe, stock: ExamplePool, /) -> list[AllocationGroup]:
        """The cells that a section of the recipe asks for."""


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
        prompt: the instruction, its input below it, and the tag.
        completion: what the model is tuned to write.
        prompt_language, language: of the instruction and of the completion.
        mixer: the recipe's section.
        shape: the mixer's name for the kind of row.
        tag: what the prompt ends with, or empty.
        kind: ``seed`` or ``web``.
        source_id: id of the item in the data that was mixed.
        source, license: of the completion.
        sentence, parallel: the instruction and the same in another language, to align states with (``afp``); or empty.
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
    """The mixer of a section, loaded."""
    module, function = MIXERS[name].split(":")
    found: Mixer = getattr(importlib.import_module(module), function)
    return found


def groups(mixing: MixRecipe, stock: ExamplePool) -> Iterator[tuple[str, int, AllocationGroup]]:
    """Each section's groups of cells, with the section's name and the group's number in it."""
    for name in mixing.sections():
        for number, group in enumerate(mixer(name)(getattr(mixing, name), mixing, stock)):
            yield name, number, group


def mix(mixing: MixRecipe, stock: ExamplePool) -> tuple[int, Iterator[Row]]:
    """How many rows there are, and the rows; texts are read as they are wanted.

    Args:
        mixing: the recipe.
        stock: closed.

    Raises:
        CorpusError: there is not enough matter for the recipe's counts.
    """
    plan: list[tuple[str, Allocation]] = []
    cells, items = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
    for name, number, group in groups(mixing, stock):
        filled = fill(f"{name}.{number}", group, stock, mixing.seed)
        for cell, chosen in zip(group.cells, filled, strict=True):
            cells.append(np.full(len(chosen), len(plan), dtype=np.intp))
            items.append(chosen)
            plan.append((name, cell))
    which, item = np.concatenate(cells), np.concatenate(items)
    order = np.argsort(mix_hash(np.arange(len(which), dtype=np.uint64), mixing.seed, "order"), kind="stable")

    def rows() -> Iterator[Row]:
        for number, place in enumerate(order):
            section, cell = plan[which[place]]
            yield _row(f"{mixing.name}-{number:07d}", section, cell, int(item[place]), stock)

    return len(order), rows()


def _row(id: str, section: str, cell: Allocation, item: int, stock: ExamplePool) -> Row:
    asked = stock.piece("ask", cell.ask, item).text
    answer = stock.piece(cell.completion, cell.answer, item)
    kind, source_id = stock.id(item)
    return Row(
        id=id,
        prompt=(f"{cell.cue}\n" if cell.cue else "") + asked + (cell.joint + cell.tag if cell.tag else ""),
        completion=answer.text,
        prompt_language=cell.ask,
        language=cell.answer,
        mixer=section,
        shape=cell.shape,
        tag=cell.tag,
        kind=kind,
        source_id=source_id,
        source=answer.source,
        license=answer.license,
        sentence=asked if cell.partner else "",
        parallel=stock.piece("ask", cell.partner, item).text if cell.partner else "",
    )
