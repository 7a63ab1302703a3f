"""A JSON list of objects, read one object at a time: memory holds a chunk and one object, never the list."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from x_instruction.corpus.rows import (
    CHUNK,
    LONG_START,
    MALFORMED_START,
    RowError,
    as_utf8,
    invalid_utf8,
    not_an_object,
    too_long,
)
from x_instruction.errors import CorpusError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Item:
    """One element of the list.

    Args:
        number: its number in the list, from 1.
        line: where it begins, from 1.
        column: likewise, in characters.
        value: the object, or why it cannot be used.
    """

    number: int
    line: int
    column: int
    value: dict[str, Any] | RowError


def items(stream: IO[bytes], name: str, limit: int) -> Iterator[Item]:
    """The elements of a list, in order. One that cannot be used does not stop the others.

    Args:
        stream: the file, open for reading bytes, in UTF-8 or with a byte order mark.
        name: its name, for messages.
        limit: bytes of the longest element; a longer one is skipped and never held.

    Raises:
        CorpusError: the file is not a JSON list, or is cut off; the message names the line and column.
    """
    # Bytes that are not UTF-8 become lone surrogates, so that only their own row is dropped: see _take_element.
    with io.TextIOWrapper(as_utf8(stream), "utf-8", "surrogateescape", newline="") as text:
        yield from _items(_Window(text, name), limit)


def _items(window: _Window, limit: int) -> Iterator[Item]:
    window.take("[", "a list of objects")
    number = 0
    mark = window.peek()
    if mark == "]":
        window.take("]", "the end of the list")
    while mark != "]":
        number += 1
        if window.peek() in (",", "]", ""):
            raise window.damaged(f"row {number} is missing")
        line, column = window.advance()
        yield Item(number, line, column, window.element(limit))
        mark = window.take(",]", "a comma or the end of the list")
    if window.peek():
        raise window.damaged("there is text after the list")


class _Window:
    """The part of a text that is being read.

    Args:
        stream: the text.
        name: its name, for messages.
    """

    def __init__(self, stream: io.TextIOWrapper, name: str) -> None:
        self._stream = stream
        self._name = name
        self._text = ""
        self._at = 0
        # Line breaks up to _mark, and characters between the last of them and _mark. Lines are counted from there, not
        # from the start of the file for every row.
        self._mark = self._lines = self._columns = 0

    def peek(self) -> str:
        """The next character that is not white space, or an empty string at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, marks: str, expected: str) -> str:
        """Read the next character, which must be one of ``marks``."""
        mark = self.peek()
        if not mark or mark not in marks:
            raise self.damaged(f"expected {expected}, got {repr(mark) if mark else 'the end of the file'}")
        self._at += 1
        return mark

    def element(self, limit: int) -> dict[str, Any] | RowError:
        """Read the element that begins here.

        The decoder finds the end of a valid element. Where it fails, the element is either damaged, or only a part of
        it is in the window: brackets and quotes say which.
        """
        ends = _EndFinder()
        scanned = 0  # characters of the element that ``ends`` has seen
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                message, offset = error.msg, error.pos - self._at
            except RecursionError:
                message, offset = "objects are nested too deep", 0
            else:
                # A number at the end of the window may have more digits.
                if end < len(self._text) or not self._more():
                    return self._object(value, end, limit)
                continue
            stop = ends.find(self._text, self._at + scanned)
            if stop is not None:
                return self._malformed(message, offset, stop, limit)
            scanned = len(self._text) - self._at
            if scanned > limit:
                return self._skip(ends, limit)
            if not self._more():
                raise self.damaged(message, self._at + offset)

    def advance(self) -> tuple[int, int]:
        """Line and column of the next character, from 1; later places are counted from here."""
        line, column = self._place(self._at)
        self._mark, self._lines, self._columns = self._at, line - 1, column - 1
        return line, column

    def damaged(self, message: str, at: int | None = None) -> CorpusError:
        """The error that names a place in the window, by default that of the next character."""
        line, column = self._place(self._at if at is None else at)
        return CorpusError(f"{self._name}, line {line}, column {column}: {message}; expected a JSON list of objects")

    def _place(self, at: int) -> tuple[int, int]:
        breaks = self._text.count("\n", self._mark, at)
        if not breaks:
            return self._lines + 1, self._columns + at - self._mark + 1
        return self._lines + breaks + 1, at - self._text.rindex("\n", self._mark, at)

    def _more(self) -> bool:
        """Read on, twice as much each time, so that a long element is decoded again only a few times."""
        read = self._stream.read(max(CHUNK, len(self._text) - self._at))
        if read:
            self.advance()
            self._text, self._at, self._mark = self._text[self._at :] + read, 0, 0
        return bool(read)

    def _object(self, value: Any, end: int, limit: int) -> dict[str, Any] | RowError:
        source = self._take_element(end, limit)
        if isinstance(source, RowError):
            return source
        return value if isinstance(value, dict) else not_an_object(value, source)

    def _malformed(self, message: str, offset: int, end: int, limit: int) -> RowError:
        line, column = self._place(self._at + offset)
        source = self._take_element(end, limit)
        if isinstance(source, RowError):
            return source
        return RowError("malformed_json", f"{message}: line {line} column {column}", source[:MALFORMED_START])

    def _take_element(self, end: int, limit: int) -> str | RowError:
        """The element's text, which ends at ``end``; or why no element with this text can be used."""
        source, self._at = self._text[self._at : end], end
        try:
            size = len(source.encode())
        except UnicodeEncodeError:
            return _not_utf8(source)
        return too_long(size, limit, source) if size > limit else source

    def _skip(self, ends: _EndFinder, limit: int) -> RowError:
        """Pass over an element without holding it; what is in the window has been seen."""
        line, column = self.advance()
        start = self._text[self._at : self._at + LONG_START]
        size, end = 0, None
        while end is None:
            size += len(self._text) - self._at
            self._at = len(self._text)
            if not self._more():
                raise CorpusError(
                    f"{self._name}, line {line}, column {column}: this row of {size} characters has no end; "
                    "expected a JSON list of objects"
                )
            end = ends.find(self._text, 0)
        size += end
        self._at = end
        return RowError("line_too_long", f"{size} characters, at most {limit} bytes", start)


def _not_utf8(source: str) -> RowError:
    """The error of an element in which bytes that are not UTF-8 stand as lone surrogates."""
    row = source.encode("utf-8", "surrogateescape")
    try:
        row.decode()
    except UnicodeDecodeError as error:
        return invalid_utf8(error, row)
    raise AssertionError("no lone surrogate in the element")


class _EndFinder:
    """Finds the end of an element by its brackets and quotes alone, so that it is found in a damaged one, too."""

    _OUTSIDE = re.compile(r'["\[\]{},]')
    _INSIDE = re.compile(r'["\\]')

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False

    def find(self, text: str, start: int) -> int | None:
        """The end of the element, or None where it is not in this text; the next text continues it."""
        at = start
        while at < len(text):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            match = (self._INSIDE if self._quoted else self._OUTSIDE).search(text, at)
            if match is None:
                return None
            mark, at = match[0], match.end()
            if self._quoted:
                self._quoted = mark != '"'
                self._escaped = mark == "\\"
            elif mark == '"':
                self._quoted = True
            elif mark in "[{":
                self._depth += 1
            elif self._depth == 0:
                if mark != "}":  # the comma or the bracket belongs to the list
                    return at - 1
            elif mark != ",":
                self._depth -= 1
                if self._depth == 0:
                    return at
        return None
