"""The published columns, declared once for Parquet files, ``datasets`` features and the card's table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from x_instruction.languages import language
from x_instruction.records import Curated

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

# Version of the layout and of the columns: raised when a reader of an older set would break.
VERSION = "1.0.0"
# The config that holds every language. It is also the code of a language (Allar), which ``layout`` refuses.
ALL = "all"
# Folder of a built data set that holds its Parquet files: one folder per language, named by its tag.
DATA = "data"


@dataclass(frozen=True, slots=True)
class Column:
    """One published column.

    Args:
        name: its name.
        kind: ``string``, ``int32`` or ``float64``, a name that Arrow and ``datasets`` share.
        meaning: what it holds, for the card.
        value: takes it from a record.
    """

    name: str
    kind: str
    meaning: str
    value: Callable[[Curated], str | int | float | None]


def row_id(record: Curated) -> str:
    """Id of a published row: the passage's id and the candidate's number, unique within a language.

    Candidates are numbered anew in every round of refinement, so later rounds name theirs.
    """
    return f"{record.id}-{record.candidate}" + (f"-r{record.round}" if record.round else "")


COLUMNS: tuple[Column, ...] = (
    Column("id", "string", "id of the row, unique within its language", row_id),
    Column("instruction", "string", "the instruction, written by a model", lambda r: r.instruction),
    Column("output", "string", "the response: natural text, found in a corpus", lambda r: r.text),
    Column("language", "string", "BCP-47 tag of the response", lambda r: r.language),
    Column("language_code", "string", "ISO 639-3 and script of the response", lambda r: language(r.language).code),
    Column("instruction_language", "string", "BCP-47 tag of the instruction", lambda r: r.instruction_language),
    Column("source", "string", "corpus that the response comes from", lambda r: r.source),
    Column("url", "string", "where the document was found, or empty", lambda r: r.url),
    Column("license", "string", "licence of the response as its source states it", lambda r: r.license),
    Column("document_id", "string", "document that the response is part of", lambda r: r.document_id),
    Column("segment", "int32", "number of the passage within its document, from 0", lambda r: r.segment),
    Column("text_hash", "string", "SHA-256 of the response", lambda r: r.text_hash),
    Column(
        "identified_confidence",
        "float64",
        "probability that the language identifier gave",
        lambda r: r.identified_confidence,
    ),
    Column("style", "string", "how the instruction was asked for", lambda r: r.style),
    Column("generator", "string", "model that wrote the instruction", lambda r: r.generator),
    Column("generator_revision", "string", "its revision or content digest", lambda r: r.generator_revision),
    Column("rater", "string", "kind of rater and model that rated the pair", lambda r: r.rater),
    Column("rater_revision", "string", "its revision or content digest", lambda r: r.rater_revision),
    Column("score", "float64", "the rater's score, larger is better", lambda r: r.score),
    Column("p_best", "float64", "probability that the pair is good, where the rater gives one", lambda r: r.p_best),
    Column("p_flawed", "float64", "probability that it is usable but flawed", lambda r: r.p_flawed),
    Column("p_worst", "float64", "probability that it is bad", lambda r: r.p_worst),
    Column("round", "int32", "round of refinement in which the instruction was written", lambda r: r.round),
    Column("cluster", "int32", "cluster of the instruction, numbered from the largest", lambda r: r.cluster),
    Column("rank", "int32", "turn in which the row was chosen, from 0", lambda r: r.rank),
)


def published(record: Curated) -> dict[str, Any]:
    """A curated record as a published row, in column order."""
    return {column.name: column.value(record) for column in COLUMNS}


def arrow_schema() -> pa.Schema:
    """The one Arrow schema of every published file.

    A column that is null throughout one file would otherwise get another type there and break readers
    (datasets issues 4491, 7092, 7222).
    """
    import pyarrow as pa

    kinds = {"string": pa.string(), "int32": pa.int32(), "float64": pa.float64()}
    return pa.schema([pa.field(column.name, kinds[column.kind]) for column in COLUMNS])


def features() -> datasets.Features:
    """The same columns as ``datasets`` features, equal to what it infers from a published file."""
    import datasets

    return datasets.Features({column.name: datasets.Value(column.kind) for column in COLUMNS})


def row_digest(row: Mapping[str, Any]) -> bytes:
    """Digest of one published row; its keys may come in any order.

    Raises:
        KeyError: a column is missing.
    """
    values = json.dumps([row[column.name] for column in COLUMNS], separators=(",", ":"))
    return hashlib.sha256(values.encode()).digest()


class Content:
    """Number and digest of rows in their order: equal only where every value of every row is equal."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()

    def add(self, row: bytes) -> None:
        """Take in one row by its ``row_digest``."""
        self._digest.update(row)
        self.rows += 1

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the rows so far, hex."""
        return self._digest.hexdigest()
