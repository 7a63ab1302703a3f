"""Rows of corpus files, one at a time, whatever their size.

Every reader yields ``(position, row)`` with positions from 1, or ``(position, Fault)`` for a row that cannot be used.
Memory is bounded by one row, or by ``limit`` bytes when a row is longer.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from x_instruction.errors import CorpusError

# Bytes read at once, and rows of a Parquet file in memory at once.
CHUNK = 1 << 20
PARQUET_ROWS = 128


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that cannot be used.

    Args:
        reason: ``line_too_long``, ``invalid_utf8`` or ``malformed_json``.
        detail: what was seen, for a person.
        text: the beginning of the row.
    """

    reason: str
    detail: str
    text: str = ""


Row = tuple[int, dict[str, Any] | RowError]


def rows(stream: IO[bytes], name: str, columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    """Rows of one file, read by its suffix.

    Args:
        stream: the file, open for reading bytes; Parquet needs to seek in it.
        name: its name, for the suffix and for messages.
        columns: columns wanted, the text's first; others may be left out of the rows.
        limit: bytes of the longest row that is read.

    Raises:
        CorpusError: unknown suffix, or the file is damaged or cut off.
    """
    reader = SUFFIXES[suffix(name)]
    with _told(name):
        yield from reader(stream, columns, limit)


def parquet_rows(stream: IO[bytes], name: str) -> int:
    """Number of rows that a Parquet file says it has.

    Raises:
        CorpusError: the file is damaged or cut off.
    """
    import pyarrow.parquet as pq

    with _told(name), pq.ParquetFile(stream) as file:
        return int(file.metadata.num_rows)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors of a damaged file as ``CorpusError``."""
    import pyarrow as pa

    try:
        yield
    except (OSError, EOFError, pa.ArrowException) as error:
        raise CorpusError(
            f"cannot read {name}: {error}; the file is damaged or cut off, copy or download it again"
        ) from error


def suffix(name: str) -> str:
    """The known suffix of a file name.

    Raises:
        CorpusError: it has none of them.
    """
    for known in SUFFIXES:
        if name.lower().endswith(known):
            return known
    raise CorpusError(f"cannot tell the format of {name} from its name, wanted one of {', '.join(SUFFIXES)}")


def _lines(raw: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | RowError]]:
    """Lines without their end; a longer one is passed over in chunks and never held."""
    number = 0
    with io.BufferedReader(raw, CHUNK) as stream:  # type: ignore[type-var]
        while line := stream.readline(limit + 1):
            number += 1
            if len(line) <= limit or line.endswith(b"\n"):
                yield number, line.rstrip(b"\r\n")
                continue
            size = len(line)
            start = line[:200].decode("utf-8", "replace")
            while line and not line.endswith(b"\n"):
                line = stream.readline(CHUNK)
                size += len(line)
            yield number, RowError("line_too_long", f"{size} bytes, at most {limit}", start)


def _jsonl(stream: IO[bytes], columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    for number, line in _lines(stream, limit):
        if isinstance(line, RowError):
            yield number, line
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield number, _parse(line)


def _parse(line: bytes) -> dict[str, Any] | RowError:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return RowError("invalid_utf8", f"byte {error.start}", line[:1_000].decode("utf-8", "replace"))
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return RowError("malformed_json", str(error), text[:1_000])
    if not isinstance(row, dict):
        return RowError("malformed_json", f"a {type(row).__name__}, wanted an object", text[:1_000])
    return row


def _txt(stream: IO[bytes], columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    """Documents separated by blank lines; the position is that of the first line."""
    start, held, size = 0, list[bytes](), 0
    for number, line in _lines(stream, limit):
        blank = not isinstance(line, RowError) and not line.strip()
        if held and (blank or isinstance(line, RowError) or size + len(line) > limit):
            # A "document" above the limit is a file without blank lines: it is cut, and no line is lost.
            yield start, _decode(b"\n".join(held), columns[0])
            held, size = [], 0
        if isinstance(line, RowError):
            yield number, line
        elif not blank:
            start = start if held else number
            held.append(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            size += len(line) + 1
    if held:
        yield start, _decode(b"\n".join(held), columns[0])


def _decode(document: bytes, column: str) -> dict[str, Any] | RowError:
    try:
        return {column: document.decode("utf-8")}
    except UnicodeDecodeError as error:
        return RowError("invalid_utf8", f"byte {error.start}", document[:1_000].decode("utf-8", "replace"))


def _parquet(stream: IO[bytes], columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    import pyarrow.parquet as pq

    number = 0
    with pq.ParquetFile(stream) as file:
        present = [c for c in columns if c in file.schema_arrow.names]
        if columns[0] not in present:
            # Without the text the reader above complains, and needs the names of what is there.
            yield 1, dict.fromkeys(file.schema_arrow.names)
            return
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=present):
            for index in range(batch.num_rows):
                number += 1
                yield number, _parquet_row(batch, index, columns[0], limit)


def _parquet_row(batch: Any, index: int, text_column: str, limit: int) -> dict[str, Any] | RowError:
    try:
        row = {name: batch.column(name)[index].as_py() for name in batch.schema.names}
    except UnicodeDecodeError as error:
        return RowError("invalid_utf8", f"byte {error.start}")
    text = row[text_column]
    # Four bytes is the longest a character gets, so short texts need no encoding to be measured.
    if isinstance(text, str) and len(text) * 4 > limit and len(text.encode("utf-8", "surrogatepass")) > limit:
        return RowError("line_too_long", f"more than {limit} bytes", text[:200])
    return row


def _decompressed(kind: str) -> Callable[[IO[bytes], tuple[str, ...], int], Iterator[Row]]:
    def read(stream: IO[bytes], columns: tuple[str, ...], limit: int) -> Iterator[Row]:
        import pyarrow as pa

        # Arrow notices a stream that was cut off; zstandard's own reader takes it for the end.
        with pa.CompressedInputStream(pa.PythonFile(stream, "r"), kind) as plain:
            yield from _jsonl(plain, columns, limit)

    return read


# How a file is read, by the end of its name.
SUFFIXES: dict[str, Callable[[IO[bytes], tuple[str, ...], int], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".jsonl.gz": _decompressed("gzip"),
    ".jsonl.zst": _decompressed("zstd"),
    ".parquet": _parquet,
    ".txt": _txt,
}
