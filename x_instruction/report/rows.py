"""The rows in a report: a sample spread over the scores, dropped rows of every reason, and candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.report.figures import LanguageFigures, passage_of
from x_instruction.report.source import Subject, read

# Rows of a page over all languages, least rows of a language, and characters of all their texts. They bound the page.
MOST_ROWS = 4_000
LEAST_ROWS = 20
MOST_CHARS = 6_000_000
# Characters of one text. The Parquet file has all of it.
TEXT_CHARS = 20_000
# Dropped rows of each language, stage and reason.
DROPPED = 12
# Columns whose few values are written once.
POOLED = (
    "language",
    "split",
    "state",
    "stage",
    "instruction_language",
    "source",
    "license",
    "style",
    "generator",
    "rater",
)
FIELDS = (
    *("id", "language", "split", "state", "stage", "instruction", "output", "chars", "instruction_language", "source"),
    *("url", "license", "document_id", "confidence", "style", "generator", "rater", "score", "round", "cluster"),
    *("rank", "detail"),
)


# The same language of a second set: the set, and its figures.
Other = tuple[Subject, LanguageFigures]


@dataclass(slots=True)
class PageRows:
    """Rows for the page, as plain data for JSON.

    Args:
        rows: A list of values for each row, in the order of ``FIELDS``. Pooled values are positions in ``pools``.
        pools: Column to its values.
        candidates: Id of a passage to its candidates: instruction, style, score, round and what became of each.
        others: Id of a row to the rows of the other set for the same response.
    """

    rows: list[list[Any]] = field(default_factory=list)
    pools: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in POOLED})
    candidates: dict[str, list[list[Any]]] = field(default_factory=dict)
    others: dict[str, list[list[Any]]] = field(default_factory=dict)
    _places: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, values: dict[str, Any]) -> None:
        """Add a row."""
        self.rows.append([self._pooled(name, values.get(name)) for name in FIELDS])

    def _pooled(self, name: str, value: Any) -> Any:
        if name not in POOLED:
            return round(value, 4) if isinstance(value, float) else value
        text = "" if value is None else str(value)
        if (name, text) not in self._places:
            self._places[name, text] = len(self.pools[name])
            self.pools[name].append(text)
        return self._places[name, text]

    def as_data(self) -> dict[str, Any]:
        """For the page's script."""
        return {"fields": FIELDS, "rows": self.rows, "pools": self.pools} | {
            "candidates": self.candidates,
            "others": self.others,
        }


def sample(scores: npt.NDArray[np.float64], most: int) -> list[int]:
    """Positions of at most ``most`` rows: all of them, or every k-th by score with the lowest and the highest."""
    if len(scores) <= most:
        return list(range(len(scores)))
    order = np.argsort(scores, kind="stable")
    return sorted(order[np.linspace(0, len(order) - 1, most).round().astype(int)].tolist())


def add_kept(
    page: PageRows, subject: Subject, figures: LanguageFigures, languages: int, other: Other | None = None
) -> None:
    """Add a sample of the rows of a language, with the candidates of their passages.

    Args:
        page: Receives the rows.
        subject: The data set.
        figures: Its figures of the language.
        languages: Languages on the page, which share it.
        other: The same language of a second set. Half of the sample then has responses that both sets have.
    """
    quota = max(LEAST_ROWS, MOST_ROWS // languages)
    numbers = set(sample(figures.scores, quota))
    if other is not None:
        both = sorted(n for digest in figures.hashes.keys() & other[1].hashes.keys() for n in figures.hashes[digest])
        shared = [both[place] for place in sample(figures.scores[both], quota // 2)] if both else []
        numbers = {*shared, *sample(figures.scores, max(1, quota - len(shared)))}
    rows = pick(subject, figures.language.tag, sorted(numbers))
    budget = MOST_CHARS // languages
    chars = sum(min(TEXT_CHARS, len(row["output"])) + len(row["instruction"]) for row in rows)
    rows = rows[:: -(-chars // budget)]
    for row in rows:
        page.add(_kept(row, figures.language.tag))
    passages = {passage_of(row["id"]) for row in rows}
    for id, found in sorted(subject.candidates(figures.language.tag, passages).items()):
        page.candidates[id] = [
            [one["instruction"][:TEXT_CHARS], one["style"], one["score"], one["round"], one["fate"]] for one in found
        ]
    if other is not None:
        _add_others(page, rows, *other)


def _add_others(page: PageRows, rows: Sequence[dict[str, Any]], subject: Subject, figures: LanguageFigures) -> None:
    """Add the rows of a second set that have the responses of some rows."""
    by_hash: dict[str, list[str]] = {}
    for row in rows:
        by_hash.setdefault(row["text_hash"], []).append(row["id"])
    numbers = [number for digest in by_hash for number in figures.hashes.get(digest, ())]
    for row in pick(subject, figures.language.tag, numbers):
        values = [row["instruction"][:TEXT_CHARS], row["style"], row["score"], row["generator"]]
        for id in by_hash[row["text_hash"]]:
            page.others.setdefault(id, []).append(values)


def pick(subject: Subject, tag: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of a language by their positions in its files, in order, with their split."""
    rows: list[dict[str, Any]] = []
    start, places = 0, np.asarray(sorted(numbers), dtype=np.int64)
    for part in subject.parts(tag):
        table = read(part)
        inside = places[(places >= start) & (places < start + len(table))] - start
        rows += [{**row, "split": part.split} for row in table.take(inside).to_pylist()]
        start += len(table)
    return rows


def _kept(row: dict[str, Any], tag: str) -> dict[str, Any]:
    return {
        **row,
        "language": tag,
        "state": "kept",
        "instruction": row["instruction"][:TEXT_CHARS],
        "output": row["output"][:TEXT_CHARS],
        "chars": len(row["output"]),
        "confidence": row["identified_confidence"],
        "generator": f"{row['generator']} @ {row['generator_revision']}",
    }


def add_dropped(page: PageRows, subject: Subject, tag: str) -> None:
    """Add dropped rows of every stage and reason of a language, with their passages."""
    lost = list(subject.dropped(tag, DROPPED))
    texts = subject.passages(tag, {passage_of(record.id) for stage, record in lost if stage != "corpus"})
    for stage, record in lost:
        is_passage = stage == "corpus"
        output = record.text if is_passage else texts.get(passage_of(record.id), "")
        page.add(
            {
                "id": record.id,
                "language": tag,
                "state": record.reason,
                "stage": stage,
                "instruction": "" if is_passage else record.text,
                "output": output[:TEXT_CHARS],
                "chars": len(output),
                "detail": record.detail,
            }
        )
