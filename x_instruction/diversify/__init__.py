"""The third part of X-Instruction: select the final pairs from clusters of their instructions (section 3.3).

There are other selectors to compare with that of the paper; caps on domains and verbs apply to all. The instruction is
embedded and not the response: it is in English, which every encoder supports, and the paper's figure shows clusters of
instructions per language. The paper does not name encoder, number of clusters or quota; the defaults are ours.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from x_instruction.config.diversify import Diversify
from x_instruction.diversify.caps import Cap, Tally, domain, most
from x_instruction.diversify.rated_rows import RatedRows
from x_instruction.diversify.verbs import verb_nouns
from x_instruction.errors import EngineError, RecipeError
from x_instruction.hashing import derive_seed
from x_instruction.records import Curated, Dropped, Rated, extend

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
        keys: for ``sampled-kmeans``, a random number for each row that follows from its content, ``(n,)``.
    """

    quota: int
    clusters: int | None = None
    seed: int = 0
    relevance: float = 0.5
    caps: tuple[Cap, ...] = ()
    keys: npt.NDArray[np.uint64] | None = None


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
    "sampled-kmeans": "x_instruction.diversify.kmeans:select_sampled",
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
    """The stage for records in memory: per language, the selected ones in rank order, then the others with a reason.

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
    for language in sorted({record.language for record in records}):
        own = [record for record in records if record.language == language]
        rows = RatedRows.of(own)
        embeddings = embed(list(rows.texts("instruction", rows.kept)), embedder, seen)
        fetch = partial(map, own.__getitem__)
        yield from select(rows, language, embeddings, settings, seed, (embedder.model, embedder.revision), fetch)


def select(
    rows: RatedRows,
    language: str,
    embeddings: Floats,
    settings: Diversify,
    seed: int,
    encoder: tuple[str, str],
    fetch: Callable[[Sequence[int]], Iterable[Rated]],
) -> Iterator[Curated | Dropped]:
    """The stage for the rows of one language, of which only the selected ones are fetched as records.

    Args:
        rows: the rows.
        language: their language.
        embeddings: embeddings of the kept rows, ``(k, d)``.
        settings: the section ``diversify`` of the recipe.
        seed: seed of the recipe, from which the seed of the language is derived.
        encoder: name and revision of the encoder that made the embeddings.
        fetch: returns the records at positions of the table that ``rows`` was made from, in the order of the positions.
    """
    draw = Draw(
        settings.quota,
        settings.clusters,
        derive_seed(seed, "diversify", language, bits=32),
        settings.relevance,
        caps(rows, settings),
        rows.keys,
    )
    selected = selector(settings.selector)(embeddings, rows.scores[rows.kept], draw)
    records = fetch(rows.source[rows.kept[[selection.row for selection in selected]]].tolist() if selected else [])
    for selection, record in zip(selected, records, strict=True):
        yield extend(
            record,
            Curated,
            cluster=selection.cluster,
            rank=selection.rank,
            selector=settings.selector,
            embedder=encoder[0],
            embedder_revision=encoder[1],
        )
    yield from rows.duplicates()
    yield from _left(rows, selected, draw.caps)


def caps(rows: RatedRows, settings: Diversify) -> tuple[Cap, ...]:
    """The caps of a recipe for rows of one language, without those that the quota already implies."""
    result = []
    # Many rows share a group, and one text.
    shared: dict[str, str] = {}

    def group(name: str | None) -> str | None:
        return name if name is None else shared.setdefault(name, name)

    if settings.max_per_domain is not None:
        domains = [group(domain(url)) for url in rows.texts("url", rows.kept)]
        result.append(Cap("domain_cap", domains, most(settings.max_per_domain, settings.quota)))
    if settings.max_per_verb is not None:
        pairs = verb_nouns(rows.texts("instruction", rows.kept))
        verbs = [group(pair[0]) if pair else None for pair in pairs]
        result.append(Cap("verb_cap", verbs, most(settings.max_per_verb, settings.quota)))
    return tuple(cap for cap in result if cap.most < settings.quota)


def _left(rows: RatedRows, selected: Sequence[Selection], caps: Sequence[Cap]) -> Iterator[Dropped]:
    """The rows that were not selected. A cap takes precedence as the reason: a larger quota would not help."""
    tally = Tally(len(rows.kept), caps)
    for selection in selected:
        tally.take(selection.row)
    left = np.ones(len(rows.kept), dtype=bool)
    left[[selection.row for selection in selected]] = False
    for index in np.flatnonzero(left).tolist():
        reason, detail = tally.full(index) or ("over_quota", "")
        row = int(rows.kept[index])
        yield rows.drop(row, reason, f"{rows.scores[row]:.3f}" + (f", {detail}" if detail else ""))


def embed(
    instructions: Sequence[str], embedder: Encoder, seen: Callable[[int], None] = lambda done: None
) -> npt.NDArray[np.float32]:
    """Embeddings of instructions, ``(n, d)``.

    Raises:
        EngineError: an embedding is not a number.
    """
    embeddings = embedder.encode(instructions, seen)
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if bad.size:
        raise EngineError(
            f"{embedder.model} returned embeddings that are not numbers for {bad.size} of {len(instructions)} "
            f"instructions, the first {instructions[bad[0]][:80]!r}: choose another embedder"
        )
    return embeddings
