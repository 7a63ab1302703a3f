"""What the card of a data set shows about each language, counted while its rows are written.

All of it is published in the manifest. So the card of a set that several people publish is rendered from facts, and a
manifest that someone tampered with is refused where it is read (``builders.manifest``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer

from x_instruction.builders.files import Count, Split
from x_instruction.builders.splits import SPLITS
from x_instruction.diversify.report import Report
from x_instruction.languages import Language, language

if TYPE_CHECKING:
    import pyarrow as pa

# Distinct values that are counted and shown: a corpus with a licence per row must fill neither memory nor the card.
MAX_DISTINCT = 1_000
SHOWN = 10

Figure = Annotated[float, Field(allow_inf_nan=False)]
# JSON has no tuples as keys, so a value and its count are one list.
Counts = Annotated[
    dict[tuple[str, ...], Count],
    BeforeValidator(lambda rows: {tuple(values): count for *values, count in rows}),
    PlainSerializer(lambda counts: [[*values, count] for values, count in counts.items()]),
]
# A language tag or the name of an extra. Cards show these without escaping.
Word = Annotated[str, Field(pattern="^[A-Za-z0-9-]+$")]
FigureName = Literal["instruction", "response", "score"]
SelectionName = Literal["before", "random", "after"]
SplitName = Annotated[str, Field(pattern="^(train|validation|test)$")]


@dataclass(slots=True)
class Tally:
    """Counts of distinct values, at most ``MAX_DISTINCT`` of them. All others are counted together.

    Args:
        counts: Value to number of rows.
        beyond: Rows with any other value.
    """

    counts: Counts = field(default_factory=dict)
    beyond: Count = 0

    def add(self, *columns: pa.Array, without: str | None = None) -> None:
        """Count rows.

        Args:
            columns: The parts of the value of each row.
            without: Rows with this first part are left out.
        """
        codes = np.zeros(len(columns[0]), np.int64)
        for column in columns:
            encoded = column.dictionary_encode("encode")
            codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
        _, rows, numbers = np.unique(codes, return_index=True, return_counts=True)
        # Values are counted in the order of their first rows.
        for row, number in sorted(zip(rows.tolist(), numbers.tolist(), strict=True)):
            value = tuple(column[row].as_py() for column in columns)
            if value[0] != without:
                self._count(value, number)

    def merge(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for value, number in other.counts.items():
            self._count(value, number)
        self.beyond += other.beyond

    def _count(self, value: tuple[str, ...], number: int) -> None:
        if value in self.counts or len(self.counts) < MAX_DISTINCT:
            self.counts[value] = self.counts.get(value, 0) + number
        else:
            self.beyond += number

    def shown(self) -> list[tuple[tuple[str, ...], int]]:
        """The most frequent values, ties in alphabetical order."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]

    def total(self) -> int:
        """Number of rows."""
        return sum(self.counts.values()) + self.beyond

    def hidden(self) -> int:
        """Rows whose value is not among those shown."""
        return self.total() - sum(number for _, number in self.shown())


@dataclass(slots=True)
class RowFacts:
    """What rows state about themselves.

    Args:
        origins: Source and licence of the response.
        licenses: Licence of the response.
        generators, raters, embedders: Name and revision of a model.
        instruction_languages: Tag.
    """

    origins: Tally = field(default_factory=Tally)
    licenses: Tally = field(default_factory=Tally)
    generators: Tally = field(default_factory=Tally)
    raters: Tally = field(default_factory=Tally)
    embedders: Tally = field(default_factory=Tally)
    instruction_languages: Tally = field(default_factory=Tally)

    def add(self, records: pa.RecordBatch) -> None:
        """Count curated records."""
        self.origins.add(records["source"], records["license"])
        self.licenses.add(records["license"])
        self.generators.add(records["generator"], records["generator_revision"])
        # The stage's name for a pair that no rater scored.
        self.raters.add(records["rater"], records["rater_revision"], without="none")
        self.embedders.add(records["embedder"], records["embedder_revision"])
        self.instruction_languages.add(records["instruction_language"])

    @classmethod
    def over(cls, parts: Iterable[RowFacts]) -> RowFacts:
        """The facts of several languages together."""
        total = cls()
        for facts in parts:
            for name in cls.__dataclass_fields__:
                getattr(total, name).merge(getattr(facts, name))
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFacts:
    """The recipe of a run, as far as a card shows it (``recipes.recipe_facts`` makes it).

    Args:
        name: Its name.
        toml: All of its settings, as a file that ``x-instruction run`` reads.
        languages: Tags of the languages that it asks for, with or without rows.
        corpus: Id of the corpus on the Hub, or ``original``.
        masked: Whether personal data was masked.
        candidates: Instructions that were written for a passage.
        rater, keep: How pairs were rated, and how many of a passage were kept.
        selector, quota: How rows were selected, and at most how many of a language.
        extras: Extras of this package that running it needs.
    """

    name: str
    toml: str
    languages: tuple[Word, ...]
    corpus: str
    masked: bool
    candidates: Count
    rater: str
    keep: Count
    selector: str
    quota: Count
    extras: tuple[Word, ...]


@dataclass(slots=True, kw_only=True)
class StageFacts:
    """What one stage did with the records of a language.

    Args:
        stage: Its name.
        rows_in, kept: Records.
        dropped: Reason to number of records.
        seconds: Wall time, over all attempts.
        requests, prompt_tokens, output_tokens: Requests to models, and their tokens.
        cost: In the currency of the recipe's prices.
    """

    stage: str
    rows_in: Count = 0
    kept: Count = 0
    dropped: dict[str, Count] = field(default_factory=dict)
    seconds: Figure = 0.0
    requests: Count = 0
    prompt_tokens: Count = 0
    output_tokens: Count = 0
    cost: Figure = 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, standard deviation and quantiles of a figure."""

    mean: Figure
    sd: Figure
    min: Figure
    median: Figure
    p95: Figure
    max: Figure


@dataclass(frozen=True, slots=True)
class Sample:
    """A row to show, its texts shortened."""

    instruction: str
    response: str
    score: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How the rows of a language were made (``run_figures.provenance`` takes it from a run).

    Args:
        recipe: The recipe.
        stages: What each stage did, in order.
        spreads: Name of a figure to its spread.
        variety: The instructions before selection, in a random selection of the same size, and after selection.
        samples: The first rows.
    """

    recipe: RecipeFacts
    stages: tuple[StageFacts, ...]
    spreads: dict[FigureName, Spread]
    variety: dict[SelectionName, Report]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class LanguageSet:
    """One language of a data set.

    The card and its metadata are rendered from this alone. A fact that the card shows must be here.

    Args:
        tag: The language.
        splits: Name to files and number of rows.
        facts: What its rows state.
        provenance: How its rows were made.
    """

    tag: str
    splits: dict[SplitName, Split]
    facts: RowFacts
    provenance: Provenance

    @property
    def language(self) -> Language:
        """The language."""
        return language(self.tag)

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(split.rows for split in self.splits.values())

    @property
    def files(self) -> dict[str, str]:
        """Path to SHA-256 of every file."""
        return {path: sha for split in self.splits.values() for path, sha in split.files.items()}


def splits_of(sets: Iterable[LanguageSet]) -> list[str]:
    """The splits that any of the languages has, in the usual order."""
    present = {split for language_set in sets for split in language_set.splits}
    return [split for split in SPLITS if split in present]
