"""The published columns, declared once for Parquet files, ``datasets`` features and the card."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from x_instruction.languages import language
from x_instruction.records import Curated

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

# Version of the layout and of the columns. Raise it when a reader of an older set would break.
VERSION = "1.0.0"
# The config with every language. It is also the code of a language (Allar), which ``layout`` therefore refuses.
ALL = "all"
# Folder of a built data set with its Parquet files: one folder for each language, named by its tag.
DATA = "data"


@dataclass(frozen=True, slots=True)
class Column:
    """One published column.

    Args:
        name: Its name.
        dtype: ``string``, ``int32`` or ``float64``, the names that Arrow and ``datasets`` share.
        meaning: Its description in the card.
        value: Takes its value from a record.
    """

    name: str
    dtype: str
    meaning: str
    value: Callable[[Curated], str | int | float | None]


# ``json.dumps`` would make an encoder for each row.
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def row_id(record: Curated) -> str:
    """Id of a published row, unique within a language: the passage's id and the candidate's number.

    Every round of refinement numbers its candidates from 0, so later rounds add their number.
    """
    return f"{record.id}-{record.candidate}" + (f"-r{record.round}" if record.round else "")


def public_url(url: str) -> str:
    """An address without user name and password, which private corpora may have in it."""
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*@", r"\1//", url)


COLUMNS: tuple[Column, ...] = (
    Column("id", "string", "unique within the language", row_id),
    Column("instruction", "string", "instruction, written by a model", lambda r: r.instruction),
    Column("output", "string", "response: a passage of a corpus", lambda r: r.text),
    Column("language", "string", "BCP-47 tag of the response", lambda r: r.language),
    Column("language_code", "string", "ISO 639-3 and script of the response", lambda r: language(r.language).code),
    Column("instruction_language", "string", "BCP-47 tag of the instruction", lambda r: r.instruction_language),
    Column("source", "string", "corpus of the response", lambda r: r.source),
    Column("url", "string", "address of the document, or empty", lambda r: public_url(r.url)),
    Column("license", "string", "licence of the response, as its source states it", lambda r: r.license),
    Column("document_id", "string", "document of the response", lambda r: r.document_id),
    Column("segment", "int32", "number of the passage in its document, from 0", lambda r: r.segment),
    Column("text_hash", "string", "SHA-256 of the response", lambda r: r.text_hash),
    Column(
        "identified_confidence",
        "float64",
        "probability of the language, from the language identifier",
        lambda r: r.identified_confidence,
    ),
    Column("style", "string", "style of the instruction that the model was asked for", lambda r: r.style),
    Column("generator", "string", "model that wrote the instruction", lambda r: r.generator),
    Column("generator_revision", "string", "its revision, or digest of its content", lambda r: r.generator_revision),
    Column("rater", "string", "rater and model that scored the pair", lambda r: r.rater),
    Column("rater_revision", "string", "its revision, or digest of its content", lambda r: r.rater_revision),
    Column("score", "float64", "score of the rater, larger is better", lambda r: r.score),
    Column("p_best", "float64", "probability that the pair is good, if the rater gives one", lambda r: r.p_best),
    Column("p_flawed", "float64", "probability that it is usable but flawed, likewise", lambda r: r.p_flawed),
    Column("p_worst", "float64", "probability that it is bad, likewise", lambda r: r.p_worst),
    Column("round", "int32", "round of refinement that wrote the instruction", lambda r: r.round),
    Column("cluster", "int32", "cluster of the instruction, numbered from the largest", lambda r: r.cluster),
    Column("rank", "int32", "order of selection, from 0", lambda r: r.rank),
)
_NAMES = tuple(column.name for column in COLUMNS)


def published(record: Curated) -> dict[str, Any]:
    """A curated record as a published row, in column order."""
    return {column.name: column.value(record) for column in COLUMNS}


def arrow_schema() -> pa.Schema:
    """The Arrow schema of every published file.

    Without it, a column that is null throughout a file would get another type there and break readers (datasets
    issues 4491, 7092, 7222).
    """
    import pyarrow as pa

    types = {"string": pa.string(), "int32": pa.int32(), "float64": pa.float64()}
    return pa.schema([pa.field(column.name, types[column.dtype]) for column in COLUMNS])


def features() -> datasets.Features:
    """The same columns as ``datasets`` features, equal to what it infers from a published file."""
    import datasets

    return datasets.Features({column.name: datasets.Value(column.dtype) for column in COLUMNS})


def row_digest(row: Mapping[str, Any]) -> bytes:
    """Digest of one published row. Its keys may be in any order.

    Raises:
        KeyError: A column is missing.
    """
    return hashlib.sha256(_ENCODE([row[name] for name in _NAMES]).encode()).digest()


class Content:
    """Number and digest of rows in their order. Equal only if every value of every row is equal."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()

    def add(self, row: bytes) -> None:
        """Add one row by its ``row_digest``."""
        self._digest.update(row)
        self.rows += 1

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the rows so far, hex."""
        return self._digest.hexdigest()
