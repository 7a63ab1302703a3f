"""The published columns, declared once for Parquet files, ``datasets`` features and the card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from x_instruction.config.section import public_url
from x_instruction.languages import language

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
        value: Makes it from records. By default it is the field of its name.
    """

    name: str
    dtype: str
    meaning: str
    value: Callable[[pa.RecordBatch], pa.Array] | None = None

    def of(self, records: pa.RecordBatch) -> pa.Array:
        """Its values."""
        return records.column(self.name) if self.value is None else self.value(records)


def _row_ids(records: pa.RecordBatch) -> pa.Array:
    """Ids of published rows, unique within a language: the passage's id and the candidate's number.

    Every round of refinement numbers its candidates from 0, so later rounds add their number.
    """
    import pyarrow.compute as pc

    ids = pc.binary_join_element_wise(records["id"], pc.cast(records["candidate"], "string"), "-")
    if not pc.any(pc.greater(records["round"], 0)).as_py():
        return ids
    later = pc.binary_join_element_wise(ids, pc.cast(records["round"], "string"), "-r")
    return pc.if_else(pc.greater(records["round"], 0), later, ids)


def _codes(records: pa.RecordBatch) -> pa.Array:
    return _changed(records["language"], lambda tag: language(tag).code)


def _urls(records: pa.RecordBatch) -> pa.Array:
    import pyarrow.compute as pc

    urls = records["url"]
    return _changed(urls, public_url) if pc.any(pc.match_substring(urls, "@")).as_py() else urls


def _changed(texts: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """A column of texts, each distinct one changed once."""
    import pyarrow as pa

    encoded = texts.dictionary_encode()
    return pa.array(map(change, encoded.dictionary.to_pylist()), pa.string()).take(encoded.indices)


COLUMNS: tuple[Column, ...] = (
    Column("id", "string", "unique within the language", _row_ids),
    Column("instruction", "string", "instruction, written by a model"),
    Column("output", "string", "response: a passage of a corpus", lambda records: records["text"]),
    Column("language", "string", "BCP-47 tag of the response"),
    Column("language_code", "string", "ISO 639-3 and script of the response", _codes),
    Column("instruction_language", "string", "BCP-47 tag of the instruction"),
    Column("source", "string", "corpus of the response"),
    Column("url", "string", "address of the document, or empty", _urls),
    Column("license", "string", "licence of the response, as its source states it"),
    Column("document_id", "string", "document of the response"),
    Column("segment", "int32", "number of the passage in its document, from 0"),
    Column("text_hash", "string", "SHA-256 of the response"),
    Column("identified_confidence", "float64", "probability of the language, from the language identifier"),
    Column("style", "string", "style of the instruction that the model was asked for"),
    Column("generator", "string", "model that wrote the instruction"),
    Column("generator_revision", "string", "its revision, or digest of its content"),
    Column("rater", "string", "rater and model that scored the pair"),
    Column("rater_revision", "string", "its revision, or digest of its content"),
    Column("score", "float64", "score of the rater, larger is better"),
    Column("p_best", "float64", "probability that the pair is good, if the rater gives one"),
    Column("p_flawed", "float64", "probability that it is usable but flawed, likewise"),
    Column("p_worst", "float64", "probability that it is bad, likewise"),
    Column("round", "int32", "round of refinement that wrote the instruction"),
    Column("cluster", "int32", "cluster of the instruction, numbered from the largest"),
    Column("rank", "int32", "order of selection, from 0"),
)
_NAMES = tuple(column.name for column in COLUMNS)
# The first part of a digest that is made column by column.
_COLUMNS_FIRST = "columns:"


def published(records: pa.RecordBatch) -> pa.Table:
    """Curated records as published rows."""
    import pyarrow as pa

    return pa.Table.from_arrays([column.of(records) for column in COLUMNS], schema=arrow_schema())


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


class Content:
    """Number and digest of rows in their order. Equal only if every value of every row is equal, bit by bit.

    Args:
        algorithm: Makes the digest. SHA-256 for one that is published.
    """

    def __init__(self, algorithm: Callable[[], Any] = hashlib.sha256) -> None:
        self.rows = 0
        self._algorithm = algorithm
        self._columns = {column.name: tuple(algorithm() for _ in range(3)) for column in COLUMNS}

    def add(self, rows: pa.Table) -> None:
        """Add rows. In how many parts they come makes no difference.

        Raises:
            KeyError: A column is missing.
            ValueError: A column has another type.
        """
        rows = rows.select(list(self._columns))
        for found, expected in zip(rows.schema, arrow_schema(), strict=True):
            if found.type != expected.type:
                raise ValueError(f"column {found.name!r} has the type {found.type}, expected {expected.type}")
        for name, digests in self._columns.items():
            for chunk in filter(len, rows[name].chunks):
                for digest, part in zip(digests, _buffers(chunk), strict=True):
                    digest.update(part)
        self.rows += len(rows)

    @property
    def digest(self) -> str:
        """``columns:``, and a digest over the digests of each column so far, hex."""
        total = self._algorithm()
        for digest in (one for column in self._columns.values() for one in column):
            total.update(digest.digest())
        return f"{_COLUMNS_FIRST}{total.hexdigest()}"


def _buffers(values: pa.Array) -> tuple[Any, Any, Any]:
    """Which values are not null, a byte each; the lengths of texts; and the bytes of all values."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    count = len(values)
    present = b"\1" * count
    if values.null_count:
        present = pc.is_valid(values).cast("uint8").buffers()[1][:count]
        # What is stored below a null may be anything.
        values = pc.fill_null(values, pa.scalar(0).cast(values.type))
    if pa.types.is_string(values.type):
        _, ends, texts = values.buffers()
        offsets = np.frombuffer(ends, np.int32, count + 1, 4 * values.offset)
        return present, np.diff(offsets), memoryview(texts or b"")[offsets[0] : offsets[-1]]
    width = values.type.bit_width // 8
    return present, b"", values.buffers()[1][values.offset * width :][: count * width]


class RowContent:
    """The same as a digest of digests of rows, which data sets of earlier versions have."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()

    def add(self, rows: pa.Table) -> None:
        """Add rows."""
        for values in zip(*(rows[name].to_pylist() for name in _NAMES), strict=True):
            self._digest.update(hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).digest())
        self.rows += len(rows)

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of rows so far, hex. That of a row is SHA-256 of a JSON array of its values."""
        return self._digest.hexdigest()


def content_of(digest: str) -> Content | RowContent:
    """Counts rows and makes a digest of the same kind as one of a manifest."""
    return Content() if digest.startswith(_COLUMNS_FIRST) else RowContent()
