"""The diversity report: diversity of the instructions before and after the selection."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.config.diversify import Diversify
from x_instruction.diversify import Encoder, Floats, embed
from x_instruction.diversify.measures import distinct_ngrams, entropy, mean_cosine
from x_instruction.diversify.rated_rows import RatedRows, instruction_key
from x_instruction.diversify.verbs import BLOCK, Pairs, Words
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
    """The diversity of a set of instructions. A value that cannot be computed from the input is None.

    Args:
        instructions: number of instructions.
        mean_words, mean_chars: mean length.
        distinct_1, distinct_2, distinct_3: distinct-n. Only compare sets of the same size.
        with_verb: share of the instructions with a verb and a noun.
        verbs: the most frequent verbs, at most 16, with at most 4 nouns each.
        clusters: number of clusters that contain an instruction.
        entropy: entropy of the cluster sizes, in nats.
        entropy_share: ``entropy`` relative to that of equal clusters, 0 to 1; 0 if there is only one cluster.
        largest_cluster: share of the instructions in the largest cluster.
        mean_cosine: mean cosine over all pairs of embeddings. Lower is more diverse.
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
    """The report before and after the selection, with the same clusters.

    Args:
        before: all rated records.
        chance: a random sample with as many records as ``after``. Distinct-n decreases with size alone, so compare
            ``after`` with this and not with ``before``.
        after: the selected records.
    """

    before: Report
    chance: Report
    after: Report

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON gives it back."""
        return {part.name: getattr(self, part.name).as_dict() for part in dataclasses.fields(self)}


class Texts:
    """The words of instructions, and the verb and noun of each. Each text is looked at once."""

    def __init__(self) -> None:
        self.words = Words()
        self._rows: dict[str, int] = {}
        self._numbers: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._ends: npt.NDArray[np.int64] = np.zeros(1, np.int64)
        self._pairs: Pairs = np.empty((0, 2), np.int64)

    def find(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Pairs]:
        """The words of all texts one after another, as numbers; how many each text has; and the pairs."""
        self._add([text for text in dict.fromkeys(texts) if text not in self._rows])
        rows = np.fromiter(map(self._rows.__getitem__, texts), np.int64, len(texts))
        lengths = self._ends[rows + 1] - self._ends[rows]
        # From a place among these words to the place among all.
        shift = np.repeat(self._ends[rows + 1] - np.cumsum(lengths), lengths)
        return self._numbers[np.arange(len(shift)) + shift], lengths, self._pairs[rows]

    def _add(self, texts: list[str]) -> None:
        numbers, ends, pairs = [self._numbers], [self._ends], [self._pairs]
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            found, lengths = self.words.split(block)
            numbers.append(found)
            ends.append(ends[-1][-1] + np.cumsum(lengths))
            pairs.append(self.words.pairs(found, lengths))
        self._rows |= {text: number for number, text in enumerate(texts, len(self._rows))}
        self._numbers, self._ends, self._pairs = map(np.concatenate, (numbers, ends, pairs))


def describe(
    instructions: Sequence[str],
    embeddings: Floats | None = None,
    clusters: npt.ArrayLike | None = None,
    of: int | None = None,
    known: Texts | None = None,
) -> Report:
    """Measure instructions.

    Args:
        instructions: the texts, ``n`` of them.
        embeddings: ``(n, d)``, of any length; required for the cosine.
        clusters: cluster of each, ``(n,)``; required for the values about clusters.
        of: total number of clusters, if some may contain none of these instructions.
        known: keeps what is found of each text for other sets with the same texts.

    Raises:
        ValueError: the number of embeddings or clusters differs from that of the instructions.
    """
    for name, given in (("embeddings", embeddings), ("clusters", clusters)):
        if given is not None and len(np.asarray(given)) != len(instructions):
            raise ValueError(f"{len(np.asarray(given))} {name} for {len(instructions)} instructions")
    n = len(instructions)
    known = known or Texts()
    numbers, lengths, pairs = known.find(instructions)
    paired = pairs[pairs[:, 0] >= 0]
    distinct = distinct_ngrams(numbers, lengths, 3)
    return Report(
        instructions=n,
        mean_words=len(numbers) / n if n else None,
        mean_chars=sum(map(len, instructions)) / n if n else None,
        distinct_1=distinct[0],
        distinct_2=distinct[1],
        distinct_3=distinct[2],
        with_verb=len(paired) / n if n else None,
        verbs=tuple(Verb(verb, count, tuple(nouns)) for verb, count, nouns in known.words.most_frequent(paired)),
        mean_cosine=None if embeddings is None else mean_cosine(embeddings),
        **_spread(clusters, of),
    )


def _spread(clusters: npt.ArrayLike | None, of: int | None) -> dict[str, Any]:
    if clusters is None or not np.size(clusters):
        return dict.fromkeys(("clusters", "entropy", "entropy_share", "largest_cluster"))
    _, sizes = np.unique(np.asarray(clusters), return_counts=True)
    maximum = math.log(of or len(sizes))
    value = entropy(clusters)
    return {
        "clusters": len(sizes),
        "entropy": value,
        "entropy_share": min(1.0, value / maximum) if maximum else 0.0,
        "largest_cluster": float(sizes.max() / sizes.sum()),
    }


def compare(
    rated: Sequence[Rated], curated: Sequence[Curated], settings: Diversify, seed: int, embedder: Encoder
) -> Comparison:
    """Measure one language before and after the stage, with the clusters that the stage used.

    Embeds and clusters the instructions again, which takes as long as the stage.

    Args:
        rated: input of the stage.
        curated: records that it selected.
        settings: the section ``diversify`` of the recipe.
        seed: seed of the recipe.
        embedder: the encoder that the stage used.

    Raises:
        ValueError: several languages, or a curated record that is not among the rated.
        MissingExtra: scikit-learn is not installed.
    """
    from x_instruction.diversify.kmeans import cluster

    languages = {record.language for record in (*rated, *curated)}
    if len(languages) > 1:
        raise ValueError(f"records of {', '.join(sorted(languages))}: expected one language")
    if not rated:
        return Comparison(*[describe([])] * 3)
    rows = RatedRows.of(rated)
    kept = [rated[row] for row in rows.source[rows.kept].tolist()]
    vectors = embed([record.instruction for record in kept], embedder)
    language_seed = derive_seed(seed, "diversify", languages.pop(), bits=32)
    labels = cluster(vectors, settings.clusters, language_seed)
    # A duplicate has the cluster of the record that was kept. Records without a score have none and are left out.
    row_by_instruction = {instruction_key(record.instruction): row for row, record in enumerate(kept)}
    drawn = _rows(kept, curated)
    with_row = [
        (row_by_instruction[key], r.instruction)
        for r in rated
        if (key := instruction_key(r.instruction)) in row_by_instruction
    ]
    by_chance = np.random.default_rng(language_seed).choice(len(kept), size=len(drawn), replace=False)
    of = int(labels.max(initial=-1)) + 1

    def measure(part: Iterable[tuple[int, str]]) -> Report:
        # Sorted, so that sums are rounded in the same way for any order of the records.
        ordered = sorted(part)
        rows = np.array([row for row, _ in ordered], dtype=np.intp)
        return describe([text for _, text in ordered], vectors[rows], labels[rows], of)

    return Comparison(
        before=measure(with_row),
        chance=measure((int(row), kept[row].instruction) for row in by_chance),
        after=measure((row, kept[row].instruction) for row in drawn),
    )


def _rows(kept: Sequence[Rated], curated: Sequence[Curated]) -> list[int]:
    rows = {_name(record): row for row, record in enumerate(kept)}
    unknown = [_name(record) for record in curated if _name(record) not in rows]
    if unknown:
        raise ValueError(f"{len(unknown)} curated records are not among the rated, the first {unknown[0]}")
    return [rows[_name(record)] for record in curated]


def _name(record: Rated) -> str:
    return f"{record.id}-{record.candidate}"
