"""Rows of CSV and TSV files, with quotes as RFC 4180 has them: line breaks in quotes, doubled quotes within.

The records are found here, so that one damaged record costs one row and memory stays bounded; ``csv`` parses them.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from typing import IO

from x_instruction.corpus.rows import MALFORMED_START, Row, RowError, invalid_utf8, lines, refuse_twins, too_long
from x_instruction.errors import CorpusError

Line = tuple[int, bytes | RowError]


def delimited(delimiter: str, stream: IO[bytes], name: str, columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    """Rows by the names in the header, numbered by the line that they begin in.

    Args:
        delimiter: the character between two fields.
        stream: the file, open for reading bytes, in UTF-8 or with a byte order mark.
        name: its name, for messages.
        columns: columns to read; the header may have others.
        limit: bytes of the longest row.

    Raises:
        CorpusError: the header cannot be read, or names one of ``columns`` twice.
    """
    header: list[str] | None = None
    for number, record in _records(stream, delimiter, limit):
        if isinstance(record, RowError):
            if header is None:
                raise CorpusError(
                    f"{name}, line {number}: cannot read the header ({record.reason}: {record.detail}); "
                    "expected the names of the columns"
                )
            yield number, record
        elif header is None:
            header = record
            refuse_twins(header, columns, f"{name}, line {number}")
        elif len(record) != len(header):
            detail = f"expected {len(header)} fields as in the header, got {len(record)}"
            yield number, RowError("malformed_csv", detail, delimiter.join(record)[:MALFORMED_START])
        else:
            yield number, dict(zip(header, record, strict=True))


def _records(stream: IO[bytes], delimiter: str, limit: int) -> Iterator[tuple[int, list[str] | RowError]]:
    """Records and the line that each begins in.

    A quote that is never closed would swallow the rest of the file. So where the lines that a quote joins are no valid
    record, only the first is given up and the others are read again: one by one, since joining them anew would take
    quadratic time, and the last, in which the quote ended, as if it were new.
    """
    fresh = lines(stream, limit)
    again: deque[Line] = deque()
    while line := again.popleft() if again else next(fresh, None):
        number, first = line
        if isinstance(first, RowError):
            yield number, first
            continue
        # With lines left in ``again`` this one is read alone.
        joined, rest, error = _joined(first, iter(()) if again else fresh, delimiter, limit)
        record = error or _parse(joined, delimiter, limit)
        if isinstance(record, RowError) and record.reason != "invalid_utf8":
            again.extend(rest)
            record = RowError(record.reason, record.detail, first.decode("utf-8", "replace")[:MALFORMED_START])
        if record:  # an empty line is no record
            yield number, record


def _joined(
    first: bytes, following: Iterator[Line], delimiter: str, limit: int
) -> tuple[list[bytes], list[Line], RowError | None]:
    """The lines of the record that begins with ``first``, all that were read after it, and why they are no record."""
    joined, rest, size = [first], list[Line](), len(first)
    quoted = _open_quote(first, False, delimiter)
    while quoted:
        line = next(following, None)
        if line is None:
            return joined, rest, RowError("malformed_csv", "a quote that opens here is never closed")
        rest.append(line)
        if isinstance(line[1], RowError):
            return joined, rest, line[1]
        joined.append(line[1])
        size += len(line[1]) + 1
        if size > limit:
            return joined, rest, too_long(size, limit, "")
        quoted = _open_quote(line[1], True, delimiter)
    return joined, rest, None


def _open_quote(line: bytes, quoted: bool, delimiter: str) -> bool:
    """Whether a quoted field is open at the end of a line, given whether one is at its start."""
    at = 0
    if not quoted:
        if b'"' not in line:
            return False
        quoted, at = line.startswith(b'"'), int(line.startswith(b'"'))
    opening = delimiter.encode() + b'"'  # elsewhere in a field that is not quoted, a quote is a quote
    while True:
        at = line.find(b'"' if quoted else opening, at)
        if at < 0:
            return quoted
        if not quoted:
            quoted, at = True, at + len(opening)
        elif line.startswith(b'""', at):
            at += 2
        else:
            quoted, at = False, at + 1


def _parse(joined: list[bytes], delimiter: str, limit: int) -> list[str] | RowError:
    """The fields of the record that these lines make."""
    source = b"\n".join(joined)
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        return invalid_utf8(error, source)
    # csv has one limit per process, 131,072 characters at first. It is only ever raised: the record is bounded already.
    csv.field_size_limit(max(limit, csv.field_size_limit()))
    try:
        return next(csv.reader((f"{line}\n" for line in text.split("\n")), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return RowError("malformed_csv", str(error))
