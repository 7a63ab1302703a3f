"""Writes the Parquet files of one language: one schema, streamed, a fixed number of rows per file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from x_instruction.builders.schema import DATA, Content, arrow_schema
from x_instruction.errors import ShardError
from x_instruction.storage.atomic import file_digest

# A row group is written after so many rows, or so many characters of responses, whichever comes first.
ROW_GROUP = 2_000
ROW_GROUP_CHARS = 32_000_000


# A count in a manifest, which may come from anyone. JSON readers keep integers exact up to this limit.
Count = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True)
class Split:
    """One split of one config, as it was written.

    Args:
        rows: Number of rows.
        content: Digest of all rows in order (``schema.Content``).
        bytes: Size of the rows in memory, as Arrow counts it.
        files: Path within the data set to SHA-256 of the file, in order.
        file_bytes: Size of the files on disk.
    """

    rows: Count
    content: str
    bytes: Count
    files: dict[str, str]
    file_bytes: Count


def pattern(tag: str, split: str) -> str:
    """Glob pattern of a split's files, relative to the data set."""
    return f"{DATA}/{tag}/{split}-*.parquet"


class SplitWriter:
    """Writes the rows of one split to numbered files.

    The names contain the number of files, so files get them at the end.

    Args:
        root: Folder of the data set.
        tag: Language.
        split: Name of the split.
        rows_per_file: Rows after which a new file begins.
    """

    def __init__(self, root: Path, tag: str, split: str, rows_per_file: int) -> None:
        self._root = root
        self._folder = root / DATA / tag
        self._split = split
        self._rows_per_file = rows_per_file
        self._schema = arrow_schema()
        self._content = Content()
        self._rows_in_file = 0
        self._bytes = 0
        self._parts: list[Path] = []
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_chars = 0
        self._stream: IO[bytes] | None = None
        self._writer: Any = None

    def add(self, rows: pa.Table) -> None:
        """Add rows, in the schema of published files."""
        self._content.add(rows)
        chars = np.cumsum(pc.utf8_length(rows["output"]).to_numpy())
        start, before = 0, 0
        while start < len(rows):
            left = min(ROW_GROUP - self._pending_rows, self._rows_per_file - self._rows_in_file)
            # The row that reaches the limit is the last one.
            filled = int(np.searchsorted(chars, before + ROW_GROUP_CHARS - self._pending_chars)) + 1
            end = min(start + left, filled, len(rows))
            self._pending.append(rows.slice(start, end - start))
            self._pending_rows += end - start
            self._pending_chars += int(chars[end - 1]) - before
            self._rows_in_file += end - start
            full = self._rows_in_file == self._rows_per_file
            if full or self._pending_rows >= ROW_GROUP or self._pending_chars >= ROW_GROUP_CHARS:
                self._flush()
            if full:
                self._end_file()
            start, before = end, int(chars[end - 1])

    def finish(self) -> Split:
        """Write the remaining rows and give every file its name."""
        self._flush()
        self._end_file()
        files: dict[str, str] = {}
        size = 0
        for number, part in enumerate(self._parts):
            path = self._folder / f"{self._split}-{number:05d}-of-{len(self._parts):05d}.parquet"
            part.rename(path)
            files[path.relative_to(self._root).as_posix()] = file_digest(path)
            size += path.stat().st_size
        return Split(self._content.rows, self._content.digest, self._bytes, files, size)

    def close(self) -> None:
        """Close an open file, complete or not."""
        if self._writer is not None:
            self._writer.close()
        if self._stream is not None:
            self._stream.close()
        self._writer = self._stream = None

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._folder / f"{self._split}-{len(self._parts):05d}.part"
            self._parts.append(part)
            self._stream = open(part, "wb")  # noqa: SIM115 - open over many calls, closed by close()
            # With a page index the Hub's viewer and readers of single columns can skip pages.
            self._writer = pq.ParquetWriter(self._stream, self._schema, compression="zstd", write_page_index=True)
        table = pa.concat_tables(self._pending).combine_chunks()
        self._bytes += _size(table)
        self._writer.write_table(table)
        self._pending = []
        self._pending_rows = self._pending_chars = 0

    def _end_file(self) -> None:
        if self._writer is None or self._stream is None:
            return
        self._writer.close()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.close()
        self._rows_in_file = 0


def _size(table: pa.Table) -> int:
    """Bytes of the values in memory. A column has a bitmap only if it has nulls, wherever it came from."""
    total = 0
    for column in table.columns:
        total += (len(column) + 7) // 8 if column.null_count else 0
        if pa.types.is_string(column.type):
            total += 4 * len(column) + (pc.sum(pc.binary_length(column)).as_py() or 0)
        else:
            total += len(column) * column.type.bit_width // 8
    return total


@contextlib.contextmanager
def split_writers(
    root: Path, tag: str, splits: tuple[str, ...], rows_per_file: int
) -> Iterator[dict[str, SplitWriter]]:
    """A writer for each split of a language. They are closed on any exit."""
    writers = {split: SplitWriter(root, tag, split, rows_per_file) for split in splits}
    try:
        yield writers
    finally:
        for writer in writers.values():
            writer.close()


def check_ids(root: Path, tag: str, files: list[str]) -> None:
    """Check that row ids are unique.

    Raises:
        ShardError: Two rows have the same id.
    """
    if not files:
        return
    ids = pa.chunked_array(
        [chunk for file in files for chunk in pq.read_table(root / file, columns=["id"])["id"].chunks]
    )
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        first = repeated[0].as_py()["values"]
        raise ShardError(
            f"{tag}: {len(repeated)} row ids are not unique, such as {first!r}, expected one row per passage, round "
            "and candidate: remove the curated shards of this language and run again"
        )
