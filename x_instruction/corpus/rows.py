"""What every reader of corpus files shares: the row or its error, the byte order mark, and lines of bounded length."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from x_instruction.errors import CorpusError

# Bytes read at once.
CHUNK = 1 << 20
# Characters of a row that are kept when it is dropped as malformed, and when it is dropped for its length.
MALFORMED_START = 1_000
LONG_START = 200

# UTF-32 comes first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that cannot be used.

    Args:
        reason: ``line_too_long``, ``invalid_utf8``, ``malformed_json`` or ``malformed_csv``.
        detail: the cause, for a person.
        text: the beginning of the row.
    """

    reason: str
    detail: str
    text: str = ""


# Position in the file, from 1, and the row with its columns.
Row = tuple[int, dict[str, Any] | RowError]


def refuse_twins(names: Sequence[str], columns: Sequence[str], where: str) -> None:
    """Refuse a table in which two columns have the name of a column to read.

    Args:
        names: the names of its columns.
        columns: the columns to read.
        where: the file, for the message.

    Raises:
        CorpusError: there are two.
    """
    for column in columns:
        if names.count(column) > 1:
            raise CorpusError(f"{where}: two columns are called {column!r}; rename one of them")


def as_utf8(raw: IO[bytes]) -> io.BufferedReader:
    """The stream as UTF-8 without a byte order mark; the mark says which encoding the stream has.

    A stream without a mark is returned as it is. Closing the result closes ``raw``.
    """
    stream: io.BufferedReader = io.BufferedReader(raw, CHUNK)  # type: ignore[arg-type]
    start = stream.peek(4)
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            stream.read(len(mark))
            return stream if encoding == "utf-8" else io.BufferedReader(_Transcoded(stream, encoding), CHUNK)
    return stream


class _Transcoded(io.RawIOBase):
    """A UTF-16 or UTF-32 stream as UTF-8.

    Half a surrogate pair becomes bytes that are not UTF-8, so that the row that holds it is dropped and not the file.
    """

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            data = self._stream.read(CHUNK)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise EOFError(f"it is not {error.encoding}: {error.reason}") from error
            if not data and not text:
                return 0
            self._rest = memoryview(text.encode("utf-8", "surrogatepass"))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()


def lines(raw: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | RowError]]:
    """Lines as UTF-8 without their end, numbered from 1; a longer one is skipped in chunks and never held."""
    number = 0
    with as_utf8(raw) as stream:
        while line := stream.readline(limit + 1):
            number += 1
            if len(line) <= limit or line.endswith(b"\n"):
                yield number, line.rstrip(b"\r\n")
                continue
            size = len(line)
            start = line[:LONG_START].decode("utf-8", "replace")
            while line and not line.endswith(b"\n"):
                line = stream.readline(CHUNK)
                size += len(line)
            yield number, too_long(size, limit, start)


def too_long(size: int, limit: int, start: str) -> RowError:
    """The error of a row of ``size`` bytes where ``limit`` are allowed."""
    return RowError("line_too_long", f"{size} bytes, at most {limit}", start[:LONG_START])


def not_an_object(value: object, row: str) -> RowError:
    """The error of a row of JSON that is something other than an object."""
    return RowError("malformed_json", f"expected an object, got {_JSON[type(value)]}", row[:MALFORMED_START])


# What a decoded value is called in JSON.
_JSON: dict[type, str] = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def invalid_utf8(error: UnicodeDecodeError, row: bytes) -> RowError:
    """The error of a row that is not UTF-8."""
    return RowError("invalid_utf8", f"byte {error.start}", row[:MALFORMED_START].decode("utf-8", "replace"))
