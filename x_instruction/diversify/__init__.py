"""Diversification, the paper's third part: the final pairs are drawn from clusters of their instructions (section 3.3).

Other selectors stand beside the paper's, so that they can be compared; caps on domains and verbs hold for each. The
instruction is embedded, not the response: it is in one language that an encoder knows well, and the paper's figure
shows clusters per direction (method.md 2.4, U6 and U7).
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
    """A row that a selector took.

    Args:
        row: its position in the embeddings.
        cluster: its cluster, numbered from the largest, from 0.
        rank: its turn, from 0.
    """

    row: int
    cluster: int
    rank: int


@dataclass(frozen=True, slots=True)
class Draw:
    """What is asked of a selector.

    Args:
        quota: rows to take at most, 0 or more.
        clusters: number of clusters; the square root of the number of rows when None.
        seed: 32 bits.
        relevance: for ``mmr``, weight of the score against likeness to what is drawn already, 0 to 1.
        caps: rows of one group at most.
    """

    quota: int
    clusters: int | None = None
    seed: int = 0
    relevance: float = 0.5
    caps: tuple[Cap, ...] = ()


class Selector(Protocol):
    """A way to draw; a function in a module of this folder."""

    def __call__(self, embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
        """Rows of ``embeddings (n, d)``, of unit length, with their ``scores (n,)``, in rank order.

        Whatever draws, clusters are those of k-means, so that selectors are compared in the same ones.

        Raises:
            ValueError: a score or an embedding is not a number, or shapes differ.
        """


class Encoder(Protocol):
    """What the stage needs of a sentence encoder; ``x_instruction.engines.local.embedder.Embedder`` is one."""

    model: str
    """The model's name."""
    revision: str
    """Commit on the Hub, or digest of the files."""

    def encode(self, texts: Sequence[str], seen: Callable[[int], None] = ...) -> npt.NDArray[np.float32]:
        """One row of unit length per text; ``seen`` is told how many texts are done."""


SELECTORS = {
    "kmeans": "x_instruction.diversify.kmeans:select",
    "mmr": "x_instruction.diversify.mmr:select",
    "k-center": "x_instruction.diversify.k_center:select",
    "top": "x_instruction.diversify.top:select",
    "random": "x_instruction.diversify.random:select",
}


def selector(name: str) -> Selector:
    """The selector of that name, loaded.

    Raises:
        RecipeError: no selector has that name.
        MissingExtra: the package that it needs is not installed.
    """
    if name not in SELECTORS:
        close = difflib.get_close_matches(name, SELECTORS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise RecipeError(f"unknown selector {name!r}{hint} (known: {', '.join(SELECTORS)})")
    module, function = SELECTORS[name].split(":")
    found: Selector = getattr(importlib.import_module(module), function)
    return found


def diversify(
    records: Sequence[Rated],
    settings: Diversify,
    seed: int,
    embedder: Encoder,
    seen: Callable[[int], None] = lambda done: None,
) -> Iterator[Curated | Dropped]:
    """The stage: language by language, the chosen in rank order, then the others with a reason.

    Neither the order of ``records`` nor the other languages among them touch what a language gets.

    Args:
        records: of any number of languages; the quota holds for each.
        settings: the recipe's section.
        seed: of the recipe; each language's own seed derives from it.
        embedder: encodes the instructions.
        seen: called with the number of a language's instructions that are encoded so far.

    Raises:
        EngineError: the encoder gave something that is not a number.
    """
    choose = selector(settings.selector)
    for language in sorted({record.language for record in records}):
        kept, let_go = distinct([record for record in records if record.language == language])
        embeddings = embed(kept, embedder, seen)
        scores = np.array([record.score for record in kept], dtype=np.float64)
        draw = Draw(
            settings.quota,
            settings.clusters,
            derive_seed(seed, "diversify", language, bits=32),
            settings.relevance,
            caps(kept, settings),
        )
        chosen = choose(embeddings, scores, draw)
        for choice in chosen:
            yield extend(
                kept[choice.row],
                Curated,
                cluster=choice.cluster,
                rank=choice.rank,
                selector=settings.selector,
                embedder=embedder.model,
                embedder_revision=embedder.revision,
            )
        yield from let_go
        yield from _left(kept, chosen, draw.caps)


def caps(records: Sequence[Rated], settings: Diversify) -> tuple[Cap, ...]:
    """The caps that a recipe sets for records of one language; one that the quota alone keeps is left out."""
    found = []
    if settings.max_per_domain is not None:
        domains = [domain(record.url) for record in records]
        found.append(Cap("domain_cap", domains, most(settings.max_per_domain, settings.quota)))
    if settings.max_per_verb is not None:
        pairs = [verb_noun(record.instruction) for record in records]
        verbs = [pair[0] if pair else None for pair in pairs]
        found.append(Cap("verb_cap", verbs, most(settings.max_per_verb, settings.quota)))
    return tuple(cap for cap in found if cap.most < settings.quota)


def _left(records: Sequence[Rated], chosen: Sequence[Selection], caps: Sequence[Cap]) -> Iterator[Dropped]:
    """What was not drawn. Where both hold, the cap is named and not the quota: a larger quota would not help."""
    tally = Tally(len(records), caps)
    for choice in chosen:
        tally.take(choice.row)
    taken = {choice.row for choice in chosen}
    for row, record in enumerate(records):
        if row not in taken:
            reason, detail = tally.full(row) or ("over_quota", "")
            shown = f"{record.score:.3f}" + (f", {detail}" if detail else "")
            yield dropped(name(record), reason, shown, record.instruction)


def distinct(records: Sequence[Rated]) -> tuple[list[Rated], list[Dropped]]:
    """Records of one language without those that say the same, in order of name.

    Of instructions that differ at most in case and white space the best scored stays. A record without a finite score
    cannot be ranked and goes too: one bad record never stops a run.
    """
    best: dict[str, Rated] = {}
    let_go = []
    ordered = sorted(records, key=_order)
    for record in ordered:
        key = same(record.instruction)
        if math.isfinite(record.score) and (key not in best or record.score > best[key].score):
            best[key] = record
    kept = []
    for record in ordered:
        first = best.get(same(record.instruction))
        if not math.isfinite(record.score):
            let_go.append(dropped(name(record), "no_score", str(record.score), record.instruction))
        elif record is first:
            kept.append(record)
        else:
            assert first is not None
            detail = f"{record.score:.3f}, same as {name(first)} with {first.score:.3f}"
            let_go.append(dropped(name(record), "duplicate_instruction", detail, record.instruction))
    return kept, let_go


def embed(
    records: Sequence[Rated], embedder: Encoder, seen: Callable[[int], None] = lambda done: None
) -> npt.NDArray[np.float32]:
    """Embeddings of the instructions, ``(n, d)``.

    Raises:
        EngineError: the encoder gave something that is not a number.
    """
    embeddings = embedder.encode([record.instruction for record in records], seen)
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if bad.size:
        raise EngineError(
            f"{embedder.model} gave no number for {bad.size} of {len(records)} instructions, the first "
            f"{records[bad[0]].instruction[:80]!r}: choose another embedder"
        )
    return embeddings


def same(instruction: str) -> str:
    """What two instructions share that say the same: neither case nor white space counts."""
    return " ".join(instruction.casefold().split())


def name(record: Rated) -> str:
    """How a dropped candidate is named, as in refinement."""
    return f"{record.id}-{record.candidate}"


def _order(record: Rated) -> tuple[str, int, int, str]:
    return record.id, record.candidate, record.round, record.instruction
