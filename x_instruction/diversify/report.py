"""The diversity report: how varied instructions are, before the draw and after it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.config.diversify import Diversify
from x_instruction.diversify import Encoder, Floats, distinct, embed, name, same
from x_instruction.diversify.measures import distinct_ngrams, entropy, mean_cosine, words
from x_instruction.diversify.verbs import verb_nouns
from x_instruction.hashing import derive_seed
from x_instruction.records import Curated, Rated


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb or question word, how many instructions have it, and its most frequent nouns with their counts."""

    verb: str
    count: int
    nouns: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How varied a set of instructions is. A figure that the input does not allow is None.

    Args:
        instructions: how many there are.
        mean_words, mean_chars: their length.
        distinct_1, distinct_2, distinct_3: different n-grams over all n-grams; only sets of one size compare.
        with_verb: share of the instructions in which a verb and a noun were found.
        verbs: the most frequent verbs, at most 16, with at most 4 nouns each.
        clusters: clusters that hold an instruction.
        entropy: of the spread over clusters, in nats.
        entropy_share: ``entropy`` over that of an even spread over all clusters, 0 to 1; 0 where there is but one.
        largest_cluster: share of the instructions that are in the largest cluster.
        mean_cosine: over all pairs of embeddings; lower is more varied.
    """

    instructions: int
    mean_words: float | None
    mean_chars: float | None
    distinct_1: float | None
    distinct_2: float | None
    distinct_3: float | None
    with_verb: float | None
    verbs: tuple[Verb, ...]
    clusters: int | None
    entropy: float | None
    entropy_share: float | None
    largest_cluster: float | None
    mean_cosine: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON gives it back."""
        plain = dataclasses.asdict(self)
        plain["verbs"] = [{"verb": v.verb, "count": v.count, "nouns": dict(v.nouns)} for v in self.verbs]
        return plain


@dataclass(frozen=True, slots=True)
class Comparison:
    """Before and after the draw, measured in the same clusters.

    Args:
        before: everything that was rated.
        chance: as many as were drawn, taken by chance from what the stage drew from. Distinct-n falls with size alone,
            so this is what ``after`` has to beat.
        after: what was drawn.
    """

    before: Report
    chance: Report
    after: Report

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON gives it back."""
        return {part.name: getattr(self, part.name).as_dict() for part in dataclasses.fields(self)}


def describe(
    instructions: Sequence[str],
    embeddings: Floats | None = None,
    clusters: npt.ArrayLike | None = None,
    of: int | None = None,
) -> Report:
    """Measure instructions.

    Args:
        instructions: the texts, ``n`` of them.
        embeddings: ``(n, d)``, of any length; without them no cosine.
        clusters: cluster of each, ``(n,)``; without them no figure about clusters.
        of: number of clusters that there are, where these instructions may not be in all of them.

    Raises:
        ValueError: embeddings or clusters are not one per instruction.
    """
    for what, given in (("embeddings", embeddings), ("clusters", clusters)):
        if given is not None and len(np.asarray(given)) != len(instructions):
            raise ValueError(f"{len(np.asarray(given))} {what} for {len(instructions)} instructions")
    texts = [words(instruction) for instruction in instructions]
    paired, verbs = verb_nouns(instructions)
    n = len(instructions)
    return Report(
        instructions=n,
        mean_words=sum(map(len, texts)) / n if n else None,
        mean_chars=sum(map(len, instructions)) / n if n else None,
        distinct_1=distinct_ngrams(texts, 1),
        distinct_2=distinct_ngrams(texts, 2),
        distinct_3=distinct_ngrams(texts, 3),
        with_verb=paired / n if n else None,
        verbs=tuple(Verb(verb, count, tuple(nouns)) for verb, count, nouns in verbs),
        mean_cosine=None if embeddings is None else mean_cosine(embeddings),
        **_spread(clusters, of),
    )


def _spread(clusters: npt.ArrayLike | None, of: int | None) -> dict[str, Any]:
    if clusters is None or not np.size(clusters):
        return dict.fromkeys(("clusters", "entropy", "entropy_share", "largest_cluster"))
    _, sizes = np.unique(np.asarray(clusters), return_counts=True)
    even = math.log(of or len(sizes))
    spread = entropy(clusters)
    return {
        "clusters": len(sizes),
        "entropy": spread,
        "entropy_share": min(1.0, spread / even) if even else 0.0,
        "largest_cluster": float(sizes.max() / sizes.sum()),
    }


def compare(
    rated: Sequence[Rated], curated: Sequence[Curated], settings: Diversify, seed: int, embedder: Encoder
) -> Comparison:
    """Measure one language before and after the stage, in the clusters that the stage drew from.

    The instructions are embedded and clustered once more, which takes as long as the stage does.

    Args:
        rated: what the stage was given.
        curated: what it chose.
        settings: the recipe's section, as the stage had it.
        seed: of the recipe.
        embedder: the one that the stage had.

    Raises:
        ValueError: several languages, or a curated record that is not among the rated.
        MissingExtra: scikit-learn is not installed.
    """
    from x_instruction.diversify.kmeans import cluster

    languages = {record.language for record in (*rated, *curated)}
    if len(languages) > 1:
        raise ValueError(f"records of {', '.join(sorted(languages))}: wanted one language")
    if not rated:
        return Comparison(*[describe([])] * 3)
    kept, _ = distinct(rated)
    vectors = embed(kept, embedder)
    own_seed = derive_seed(seed, "diversify", languages.pop(), bits=32)
    labels = cluster(vectors, settings.clusters, own_seed)
    # A duplicate is where the one is that stayed; one without any score has no place and is left out.
    places = {same(record.instruction): row for row, record in enumerate(kept)}
    drawn = _rows(kept, curated)
    placed = [(places[key], r.instruction) for r in rated if (key := same(r.instruction)) in places]
    by_chance = np.random.default_rng(own_seed).choice(len(kept), size=len(drawn), replace=False)
    of = int(labels.max(initial=-1)) + 1

    def measured(part: Iterable[tuple[int, str]]) -> Report:
        # Sorted, so that sums round alike in whatever order the records came.
        ordered = sorted(part)
        rows = np.array([row for row, _ in ordered], dtype=np.intp)
        return describe([text for _, text in ordered], vectors[rows], labels[rows], of)

    return Comparison(
        before=measured(placed),
        chance=measured((int(row), kept[row].instruction) for row in by_chance),
        after=measured((row, kept[row].instruction) for row in drawn),
    )


def _rows(kept: Sequence[Rated], curated: Sequence[Curated]) -> list[int]:
    rows = {name(record): row for row, record in enumerate(kept)}
    strangers = [name(record) for record in curated if name(record) not in rows]
    if strangers:
        raise ValueError(f"{len(strangers)} curated records are not among the rated, the first {strangers[0]}")
    return [rows[name(record)] for record in curated]
