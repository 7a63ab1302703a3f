"""Rows of corpus files, one at a time, whatever their size.

Every reader yields ``(position, row)`` with positions from 1, or ``(position, RowError)`` for a row that cannot be
used. Memory is bounded by the longest row, and by ``limit`` bytes if a row is longer.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import IO, Any

from x_instruction.corpus.delimited import delimited
from x_instruction.corpus.json_list import items
from x_instruction.corpus.rows import (
    LONG_START,
    MALFORMED_START,
    Row,
    RowError,
    as_utf8,
    invalid_utf8,
    lines,
    not_an_object,
    refuse_twins,
)
from x_instruction.errors import CorpusError

# Rows of a Parquet file in memory at once.
PARQUET_ROWS = 128


def rows(stream: IO[bytes], name: str, columns: tuple[str, ...], limit: int, skip: int = 0) -> Iterator[Row]:
    """Rows of one file, read by its suffix.

    Args:
        stream: the file, open for reading bytes; Parquet needs to seek in it.
        name: its name, for the suffix and for messages.
        columns: columns to read, the text's first; others may be left out of the rows.
        limit: bytes of the longest row that is read.
        skip: rows to leave out at the beginning. JSON lines and Parquet skip them without parsing.

    Raises:
        CorpusError: unknown suffix, the file is damaged or cut off, or it has two columns of one name.
    """
    with _reading(name), _plain(stream, name) as (plain, form):
        if form in SKIPPING:
            yield from SKIPPING[form](plain, name, columns, limit, skip)
        else:
            yield from islice(FORMATS[form](plain, name, columns, limit), skip, None)


def count(stream: IO[bytes], name: str, columns: tuple[str, ...], limit: int) -> Iterator[int]:
    """Numbers of rows of a file that are certain so far, growing up to all of them. ``rows`` yields as many.

    A Parquet file says its number at once. The lines of a JSON lines file are counted without parsing.

    Args:
        stream, name, columns, limit: as for ``rows``.

    Raises:
        CorpusError: as for ``rows``.
    """
    if suffix(name) == ".parquet":
        yield parquet_rows(stream, name)
        return
    with _reading(name), _plain(stream, name) as (plain, form):
        if form == ".jsonl":
            found: Iterator[Any] = (line for _, line in lines(plain, limit) if not _is_blank(line))
        else:
            found = FORMATS[form](plain, name, columns, limit)
        yield from (number for number, _ in enumerate(found, start=1))


@contextlib.contextmanager
def _plain(stream: IO[bytes], name: str) -> Iterator[tuple[IO[bytes], str]]:
    """The stream without its compression, and the suffix of its format."""
    known = suffix(name)
    compression = next((value for end, value in COMPRESSIONS.items() if known.endswith(end)), None)
    if compression is None:
        yield stream, known
        return
    import pyarrow as pa

    # Arrow detects a truncated stream; the reader of zstandard treats it as the end of the file.
    with pa.CompressedInputStream(pa.PythonFile(stream, "r"), compression) as plain:
        yield plain, known.rpartition(".")[0]


def parquet_rows(stream: IO[bytes], name: str) -> int:
    """Number of rows that a Parquet file says it has.

    Raises:
        CorpusError: the file is damaged or cut off.
    """
    import pyarrow.parquet as pq

    with _reading(name), pq.ParquetFile(stream) as file:
        return int(file.metadata.num_rows)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Errors of a damaged file as ``CorpusError``."""
    import pyarrow as pa

    try:
        yield
    except (OSError, EOFError, pa.ArrowException) as error:
        raise CorpusError(
            f"cannot read {name}: {error}; the file is damaged or cut off, copy or download it again"
        ) from error


def suffix(name: str) -> str:
    """The known suffix of a file name, such as ``.jsonl.gz``.

    Raises:
        CorpusError: it has none of them.
    """
    for known in FORMATS:
        for compression in ("", *COMPRESSIONS):
            if name.lower().endswith(known + compression) and not (compression and known == ".parquet"):
                return known + compression
    compressed = " or ".join(COMPRESSIONS)
    raise CorpusError(
        f"cannot tell the format of {name} from its name; expected one of {', '.join(FORMATS)}, "
        f"all but .parquet also with {compressed}"
    )


# The beginning of a file that is one JSON list.
_LIST = re.compile(r"\s*\[\s*(\{|$)")


def _jsonl(stream: IO[bytes], name: str, columns: tuple[str, ...], limit: int, skip: int = 0) -> Iterator[Row]:
    """One object per line.

    Raises:
        CorpusError: the file is one JSON list or one object over several lines: dropping each line would say nothing.
    """
    first: RowError | None = None
    count = 0
    for number, line in lines(stream, limit):
        if _is_blank(line):
            continue
        count += 1
        if count <= skip:
            continue
        row = line if isinstance(line, RowError) else _parse(line)
        if count == 1 and isinstance(row, RowError):
            first = row
        elif count == 2 and first and isinstance(row, RowError):
            _refuse_one_value(first, row, name)
        yield number, row
    if count == 1 and first:
        _refuse_one_value(first, None, name)


def _is_blank(line: bytes | RowError) -> bool:
    return isinstance(line, bytes) and not line.strip()


def _refuse_one_value(first: RowError, second: RowError | None, name: str) -> None:
    if _LIST.match(first.text):
        other = re.sub(r"(?i)\.jsonl(?=\.|$)", ".json", name.rpartition("/")[2])
        raise CorpusError(f"{name} is one JSON list: name it {other}, or write one object per line")
    if second and first.text.strip() == "{" and second.text.lstrip().startswith('"'):
        raise CorpusError(
            f"{name} is one JSON object over several lines: write one object per line, or a list of objects as .json"
        )


def _parse(line: bytes) -> dict[str, Any] | RowError:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return invalid_utf8(error, line)
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return RowError("malformed_json", str(error), text[:MALFORMED_START])
    if not isinstance(row, dict):
        return not_an_object(row, text)
    return row


def _json(stream: IO[bytes], name: str, columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    """A list of objects, or one object per line."""
    with as_utf8(stream) as text:
        if text.peek(1).lstrip().startswith(b"["):
            yield from ((item.number, item.value) for item in items(text, name, limit))
        else:
            yield from _jsonl(text, name, columns, limit)


def _txt(stream: IO[bytes], name: str, columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    """Documents separated by blank lines; the position is that of the first line."""
    start, held, size = 0, list[bytes](), 0
    for number, line in lines(stream, limit):
        blank = not isinstance(line, RowError) and not line.strip()
        if held and (blank or isinstance(line, RowError) or size + len(line) > limit):
            # A "document" above the limit is a file without blank lines: it is cut, and no line is lost.
            yield start, _decode(b"\n".join(held), columns[0])
            held, size = [], 0
        if isinstance(line, RowError):
            yield number, line
        elif not blank:
            start = start if held else number
            held.append(line)
            size += len(line) + 1
    if held:
        yield start, _decode(b"\n".join(held), columns[0])


def _decode(document: bytes, column: str) -> dict[str, Any] | RowError:
    try:
        return {column: document.decode("utf-8")}
    except UnicodeDecodeError as error:
        return invalid_utf8(error, document)


def _parquet(stream: IO[bytes], name: str, columns: tuple[str, ...], limit: int, skip: int = 0) -> Iterator[Row]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(stream) as file:
        refuse_twins(file.schema_arrow.names, columns, name)
        present = [c for c in columns if c in file.schema_arrow.names]
        if columns[0] not in present:
            # A row of nulls tells the caller the names of the columns that the file has, for its error message.
            yield 1, dict.fromkeys(file.schema_arrow.names)
            return
        group = number = 0
        while group < file.num_row_groups and number + file.metadata.row_group(group).num_rows <= skip:
            number += file.metadata.row_group(group).num_rows
            group += 1
        groups = list(range(group, file.num_row_groups))
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, row_groups=groups, columns=present):
            for index in range(max(0, min(skip - number, batch.num_rows)), batch.num_rows):
                yield number + index + 1, _parquet_row(batch, index, columns[0], limit)
            number += batch.num_rows


def _parquet_row(batch: Any, index: int, text_column: str, limit: int) -> dict[str, Any] | RowError:
    try:
        row = {name: batch.column(name)[index].as_py() for name in batch.schema.names}
    except UnicodeDecodeError as error:
        return RowError("invalid_utf8", f"byte {error.start}")
    text = row[text_column]
    # A character has at most four bytes, so a short text need not be encoded to be measured.
    if isinstance(text, str) and len(text) * 4 > limit and len(text.encode("utf-8", "surrogatepass")) > limit:
        return RowError("line_too_long", f"more than {limit} bytes", text[:LONG_START])
    return row


# How a file is read, by the end of its name. All but Parquet may be compressed.
FORMATS: dict[str, Callable[[IO[bytes], str, tuple[str, ...], int], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": partial(delimited, ","),
    ".tsv": partial(delimited, "\t"),
    ".txt": _txt,
    ".parquet": _parquet,
}
# The formats whose readers skip rows without parsing them.
SKIPPING: dict[str, Callable[[IO[bytes], str, tuple[str, ...], int, int], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
