"""What the rows of a data set say about themselves, counted while they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from x_instruction.builders.files import Split
from x_instruction.builders.splits import SPLITS
from x_instruction.languages import Language, language
from x_instruction.records import Curated

# Distinct values that are told apart, and shown: a corpus with a licence per row must fill neither memory nor the card.
TOLD_APART = 1_000
SHOWN = 10


class Tally:
    """Counts of distinct values, at most ``TOLD_APART`` of them; the rest is counted together."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.beyond = 0

    def add(self, *value: str) -> None:
        """Count one value."""
        if value in self.counts or len(self.counts) < TOLD_APART:
            self.counts[value] += 1
        else:
            self.beyond += 1

    def merge(self, other: Tally) -> None:
        """Count what another tally counted."""
        for value, count in other.counts.items():
            if value in self.counts or len(self.counts) < TOLD_APART:
                self.counts[value] += count
            else:
                self.beyond += count
        self.beyond += other.beyond

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"counts": [[*value, count] for value, count in self.counts.items()], "beyond": self.beyond}

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Tally:
        """What ``plain`` gave."""
        tally = cls()
        for *value, count in plain["counts"]:
            tally.counts[tuple(map(str, value))] = int(count)
        tally.beyond = int(plain["beyond"])
        return tally

    def shown(self) -> list[tuple[tuple[str, ...], int]]:
        """The most frequent values, ties in alphabetical order."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]

    def total(self) -> int:
        """Rows with a value."""
        return self.counts.total() + self.beyond

    def hidden(self) -> int:
        """Rows whose value is not among those shown."""
        return self.total() - sum(count for _, count in self.shown())


@dataclass(slots=True)
class Facts:
    """What rows say about themselves."""

    origins: Tally = field(default_factory=Tally)
    licenses: Tally = field(default_factory=Tally)
    generators: Tally = field(default_factory=Tally)
    raters: Tally = field(default_factory=Tally)
    embedders: Tally = field(default_factory=Tally)
    instruction_languages: Tally = field(default_factory=Tally)

    def add(self, record: Curated) -> None:
        """Take in one row."""
        self.origins.add(record.source, record.license)
        self.licenses.add(record.license)
        self.generators.add(record.generator, record.generator_revision)
        # Under this name the stage passes on what nobody looked at.
        if record.rater != "none":
            self.raters.add(record.rater, record.rater_revision)
        self.embedders.add(record.embedder, record.embedder_revision)
        self.instruction_languages.add(record.instruction_language)

    @classmethod
    def over(cls, many: Iterable[Facts]) -> Facts:
        """The facts of several languages together."""
        total = cls()
        for facts in many:
            for name in cls.__dataclass_fields__:
                getattr(total, name).merge(getattr(facts, name))
        return total


@dataclass(frozen=True, slots=True)
class Made:
    """How the rows of a language came to be, as plain data (``figures.made`` takes it from a run).

    Args:
        recipe, seed: of the run.
        settings: the recipe as TOML.
        funnel: a line per stage: records in, kept, dropped by reason; seconds, requests, tokens and cost.
        spreads: figure (``instruction``, ``response``, ``score``) to mean, deviation and quantiles.
        variety: ``before``, ``chance`` and ``after`` the draw to a diversity report.
        samples: the first rows, their texts cut.
    """

    recipe: str
    seed: int
    settings: str
    funnel: list[dict[str, Any]]
    spreads: dict[str, dict[str, float]]
    variety: dict[str, dict[str, Any]]
    samples: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class LanguageSet:
    """One language of the data set, as it was written.

    README and metadata are rendered from this alone: it is published within the manifest, so that one who publishes
    another language later can render the card of all of them. What a card tells has to be here, in ``plain``.
    """

    language: Language
    splits: dict[str, Split]
    facts: Facts
    made: Made

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(split.rows for split in self.splits.values())

    @property
    def files(self) -> dict[str, str]:
        """Path to SHA-256 of every file."""
        return {path: sha for split in self.splits.values() for path, sha in split.files.items()}

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        facts = {name: getattr(self.facts, name).plain() for name in Facts.__dataclass_fields__}
        return {
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "facts": facts,
            "made": asdict(self.made),
        }

    @classmethod
    def read(cls, tag: str, plain: dict[str, Any]) -> Self:
        """What ``plain`` gave; a fact that an older version did not write is empty.

        Raises:
            UnknownLanguage, KeyError, TypeError, ValueError: it is something else.
        """
        splits = {str(name): Split(**split) for name, split in plain["splits"].items()}
        facts = Facts()
        for name in Facts.__dataclass_fields__.keys() & plain["facts"].keys():
            setattr(facts, name, type(getattr(facts, name)).read(plain["facts"][name]))
        return cls(language(tag), splits, facts, Made(**plain["made"]))


def splits_of(sets: Iterable[LanguageSet]) -> list[str]:
    """The splits that any of the languages has, in the usual order."""
    present = {split for one in sets for split in one.splits}
    return [split for split in SPLITS if split in present]
