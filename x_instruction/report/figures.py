"""The figures of a report: of every row of a language, from its Parquet files one at a time."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.cards.facts import Spread, StageFacts
from x_instruction.cards.run_figures import spread
from x_instruction.corpus import characters
from x_instruction.diversify.rated_rows import instruction_key
from x_instruction.diversify.verbs import verb_nouns
from x_instruction.languages import Language, language
from x_instruction.report.source import Subject, read

# Edges of the bins of lengths, in characters.
LENGTH_BINS = (0, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240)
SCORE_BINS = 24
# A row counts as in another script if less than this share of its letters is in the script of the language.
SCRIPT_SHARE = 0.9
# Rows of a language whose script is counted, evenly spread.
SCRIPT_ROWS = 2_000
# From an id of a published row or dropped candidate to that of its passage.
_CANDIDATE = re.compile(r"-\d+(-r\d+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageFigures:
    """Figures of one language.

    Args:
        language: The language.
        splits: Name to number of rows; of a run one split without a name.
        spreads: ``instruction`` and ``response`` in characters, ``score`` and ``confidence``.
        lengths: Column to the number of rows in each bin of ``LENGTH_BINS``; the last has no end.
        script_rows: Rows whose script was counted.
        other_script: Those of them that are mostly in another script.
        repeated: Rows whose instruction an earlier row has, apart from case and spaces.
        origins: Source and licence to number of rows.
        pairs: Verb and noun of the instruction to number of rows.
        clusters: Cluster of the instruction to number of rows.
        rounds: Round of refinement to number of rows.
        hashes: SHA-256 of the response to the numbers of its rows.
        scores: The score of each row.
        stages: What each stage did.
        stage_scores: Round to the scores of kept and of dropped candidates.
    """

    language: Language
    splits: dict[str, int]
    spreads: dict[str, Spread]
    lengths: dict[str, list[int]]
    script_rows: int
    other_script: int
    repeated: int
    origins: Counter[tuple[str, str]]
    pairs: Counter[tuple[str, str]]
    clusters: Counter[int]
    rounds: Counter[int]
    hashes: dict[str, list[int]]
    scores: npt.NDArray[np.float64]
    stages: list[StageFacts]
    stage_scores: dict[int, tuple[list[float], list[float]]]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.splits.values())


def figures(subject: Subject, tag: str) -> LanguageFigures:
    """Read every row of a language.

    Raises:
        ShardError: A file is damaged.
    """
    spoken = language(tag)
    sums = _Sums(spoken)
    splits: dict[str, int] = {}
    for part in subject.parts(tag):
        table = read(part)
        splits[part.split] = splits.get(part.split, 0) + len(table)
        sums.add(table)
    return LanguageFigures(
        language=spoken,
        splits=splits,
        spreads={name: spread(values) for name, parts in sums.values.items() if len(values := np.concatenate(parts))},
        lengths={
            name: np.histogram(np.concatenate(sums.values[name]), [*LENGTH_BINS, np.inf])[0].tolist()
            for name in ("instruction", "response")
        },
        script_rows=sums.script_rows,
        other_script=sums.other_script,
        repeated=sums.repeated,
        origins=sums.origins,
        pairs=sums.pairs,
        clusters=sums.clusters,
        rounds=sums.rounds,
        hashes=sums.hashes,
        scores=np.concatenate(sums.values["score"]),
        stages=subject.stages(tag),
        stage_scores=subject.scores(tag),
    )


class _Sums:
    """Sums over the files of a language."""

    def __init__(self, spoken: Language) -> None:
        self._known = np.zeros(256, dtype=bool)
        self._known[characters.script_kinds(spoken.script)] = True
        self._seen: set[str] = set()
        self.values: dict[str, list[Any]] = {"instruction": [], "response": [], "score": [], "confidence": []}
        self.script_rows = self.other_script = self.repeated = 0
        self.origins: Counter[tuple[str, str]] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.clusters: Counter[int] = Counter()
        self.rounds: Counter[int] = Counter()
        self.hashes: dict[str, list[int]] = {}

    def add(self, table: Any) -> None:
        """Add the rows of a file."""
        import pyarrow.compute as pc

        start = sum(map(len, self.values["score"]))
        for name, column in (("instruction", "instruction"), ("response", "output")):
            self.values[name].append(pc.utf8_length(table[column]).to_numpy())
        for name, column in (("score", "score"), ("confidence", "identified_confidence")):
            self.values[name].append(table[column].to_numpy())
        instructions = table["instruction"].to_pylist()
        for key in map(instruction_key, instructions):
            self.repeated += key in self._seen
            self._seen.add(key)
        self.pairs.update(filter(None, verb_nouns(instructions)))
        self.origins.update(zip(table["source"].to_pylist(), table["license"].to_pylist(), strict=True))
        self.clusters.update(table["cluster"].to_pylist())
        self.rounds.update(table["round"].to_pylist())
        for number, digest in enumerate(table["text_hash"].to_pylist(), start):
            self.hashes.setdefault(digest, []).append(number)
        self._count_scripts(table["output"])

    def _count_scripts(self, column: Any) -> None:
        step = max(1, len(column) // max(1, SCRIPT_ROWS - self.script_rows))
        for text in column.take(list(range(0, len(column), step))).to_pylist()[: SCRIPT_ROWS - self.script_rows]:
            kinds = characters.kinds(text)
            letters = int((kinds >= characters.FIRST_SCRIPT).sum())
            self.script_rows += 1
            self.other_script += int(self._known[kinds].sum()) < SCRIPT_SHARE * letters


def passage_of(id: str) -> str:
    """The id of the passage of a published row or of a dropped candidate."""
    return _CANDIDATE.sub("", id)
