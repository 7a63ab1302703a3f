"""The third part of X-Instruction: select the final pairs from clusters of their instructions (section 3.3).

There are other selectors to compare with that of the paper; caps on domains and verbs apply to all. The instruction is
embedded and not the response: it is in English, which every encoder supports, and the paper's figure shows clusters of
instructions per language. The paper does not name encoder, number of clusters or quota; the defaults are ours.
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from x_instruction.config.diversify import Diversify
from x_instruction.diversify.caps import Cap, Tally, domain, most
from x_instruction.diversify.verbs import verb_noun
from x_instruction.errors import EngineError, RecipeError
from x_instruction.hashing import derive_seed
from x_instruction.records import Curated, Dropped, Rated, dropped, extend

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Selection:
    """A selected row.

    Args:
        row: its index in the embeddings.
        cluster: its cluster; 0 is the largest.
        rank: its position in the selection, from 0.
    """

    row: int
    cluster: int
    rank: int


@dataclass(frozen=True, slots=True)
class Draw:
    """The settings of a selection.

    Args:
        quota: maximum number of rows, 0 or more.
        clusters: number of clusters; the square root of the number of rows if None.
        seed: 32-bit seed.
        relevance: for ``mmr``, weight of the score against the similarity to selected rows, 0 to 1.
        caps: maximum numbers of rows per group.
    """

    quota: int
    clusters: int | None = None
    seed: int = 0
    relevance: float = 0.5
    caps: tuple[Cap, ...] = ()


class Selector(Protocol):
    """A method of selection: a function in a module of this folder."""

    def __call__(self, embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
        """Select rows of ``embeddings (n, d)`` of unit length with ``scores (n,)``; in rank order.

        The clusters are those of k-means for every selector, so that selectors can be compared.

        Raises:
            ValueError: a score or an embedding is not a number, or shapes differ.
        """


class Encoder(Protocol):
    """A sentence encoder, such as ``x_instruction.engines.local.embedder.Embedder``."""

    model: str
    """The model's name."""
    revision: str
    """Commit on the Hub, or digest of the files."""

    def encode(self, texts: Sequence[str], seen: Callable[[int], None] = ...) -> npt.NDArray[np.float32]:
        """One row of unit length per text. ``seen`` is called with the number of encoded texts."""


SELECTORS = {
    "kmeans": "x_instruction.diversify.kmeans:select",
    "mmr": "x_instruction.diversify.mmr:select",
    "k-center": "x_instruction.diversify.k_center:select",
    "top": "x_instruction.diversify.top:select",
    "random": "x_instruction.diversify.random:select",
}


def selector(name: str) -> Selector:
    """Load a selector by name.

    Raises:
        RecipeError: unknown name.
        MissingExtra: a package that the selector needs is not installed.
    """
    if name not in SELECTORS:
        close = difflib.get_close_matches(name, SELECTORS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise RecipeError(f"unknown selector {name!r}{hint} (known: {', '.join(SELECTORS)})")
    module, function = SELECTORS[name].split(":")
    select: Selector = getattr(importlib.import_module(module), function)
    return select


def diversify(
    records: Sequence[Rated],
    settings: Diversify,
    seed: int,
    embedder: Encoder,
    seen: Callable[[int], None] = lambda done: None,
) -> Iterator[Curated | Dropped]:
    """The stage: per language, the selected records in rank order, then the others with a reason.

    The result for a language depends neither on the order of ``records`` nor on other languages.

    Args:
        records: records of any number of languages; the quota applies to each.
        settings: the section ``diversify`` of the recipe.
        seed: seed of the recipe, from which the seed of each language is derived.
        embedder: encodes the instructions.
        seen: called with the number of instructions of a language encoded so far.

    Raises:
        EngineError: an embedding is not a number.
    """
    choose = selector(settings.selector)
    for language in sorted({record.language for record in records}):
        kept, duplicates = distinct([record for record in records if record.language == language])
        embeddings = embed(kept, embedder, seen)
        scores = np.array([record.score for record in kept], dtype=np.float64)
        draw = Draw(
            settings.quota,
            settings.clusters,
            derive_seed(seed, "diversify", language, bits=32),
            settings.relevance,
            caps(kept, settings),
        )
        selected = choose(embeddings, scores, draw)
        for selection in selected:
            yield extend(
                kept[selection.row],
                Curated,
                cluster=selection.cluster,
                rank=selection.rank,
                selector=settings.selector,
                embedder=embedder.model,
                embedder_revision=embedder.revision,
            )
        yield from duplicates
        yield from _left(kept, selected, draw.caps)


def caps(records: Sequence[Rated], settings: Diversify) -> tuple[Cap, ...]:
    """The caps of a recipe for records of one language, without those that the quota already implies."""
    result = []
    if settings.max_per_domain is not None:
        domains = [domain(record.url) for record in records]
        result.append(Cap("domain_cap", domains, most(settings.max_per_domain, settings.quota)))
    if settings.max_per_verb is not None:
        pairs = [verb_noun(record.instruction) for record in records]
        verbs = [pair[0] if pair else None for pair in pairs]
        result.append(Cap("verb_cap", verbs, most(settings.max_per_verb, settings.quota)))
    return tuple(cap for cap in result if cap.most < settings.quota)


def _left(records: Sequence[Rated], selected: Sequence[Selection], caps: Sequence[Cap]) -> Iterator[Dropped]:
    """The records that were not selected. A cap takes precedence as the reason: a larger quota would not help."""
    tally = Tally(len(records), caps)
    for selection in selected:
        tally.take(selection.row)
    selected_rows = {selection.row for selection in selected}
    for row, record in enumerate(records):
        if row not in selected_rows:
            reason, detail = tally.full(row) or ("over_quota", "")
            shown = f"{record.score:.3f}" + (f", {detail}" if detail else "")
            yield dropped(candidate_name(record), reason, shown, record.instruction)


def distinct(records: Sequence[Rated]) -> tuple[list[Rated], list[Dropped]]:
    """Deduplicate records of one language; sorted by name.

    Of instructions that differ only in case and white space, the one with the best score is kept. A record without a
    finite score cannot be ranked and is dropped, so that one bad record does not stop a run.
    """
    best: dict[str, Rated] = {}
    rejected = []
    ordered = sorted(records, key=_order)
    for record in ordered:
        key = instruction_key(record.instruction)
        if math.isfinite(record.score) and (key not in best or record.score > best[key].score):
            best[key] = record
    kept = []
    for record in ordered:
        first = best.get(instruction_key(record.instruction))
        if not math.isfinite(record.score):
            rejected.append(dropped(candidate_name(record), "no_score", str(record.score), record.instruction))
        elif record is first:
            kept.append(record)
        else:
            assert first is not None
            detail = f"{record.score:.3f}, same as {candidate_name(first)} with {first.score:.3f}"
            rejected.append(dropped(candidate_name(record), "duplicate_instruction", detail, record.instruction))
    return kept, rejected


def embed(
    records: Sequence[Rated], embedder: Encoder, seen: Callable[[int], None] = lambda done: None
) -> npt.NDArray[np.float32]:
    """Embeddings of the instructions, ``(n, d)``.

    Raises:
        EngineError: an embedding is not a number.
    """
    embeddings = embedder.encode([record.instruction for record in records], seen)
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if bad.size:
        raise EngineError(
            f"{embedder.model} returned embeddings that are not numbers for {bad.size} of {len(records)} instructions, "
            f"the first {records[bad[0]].instruction[:80]!r}: choose another embedder"
        )
    return embeddings


def instruction_key(instruction: str) -> str:
    """Key of an instruction for deduplication: case and white space are ignored."""
    return " ".join(instruction.casefold().split())


def candidate_name(record: Rated) -> str:
    """Name of a candidate among dropped rows, as in refinement."""
    return f"{record.id}-{record.candidate}"


def _order(record: Rated) -> tuple[str, int, int, str]:
    return record.id, record.candidate, record.round, record.instruction
