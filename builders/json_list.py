"""A JSON list of objects, read one object at a time: memory holds a chunk and the largest object, never the list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from x_instruction.errors import ShardError

# Characters read at once.
CHUNK = 1 << 20
# The longest object that is taken, in characters. A damaged one is read up to here, to see whether its end comes.
LONGEST = 1 << 26

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Item:
    """One object of the list.

    Args:
        value: the object.
        number: its number in the list, from 0.
        path: the file.
        line, column: where it begins, from 1.
    """

    value: dict[str, Any]
    number: int
    path: Path
    line: int
    column: int

    def damaged(self, what: str) -> ShardError:
        """An error that says where the object stands."""
        return ShardError(f"{self.path}, line {self.line}, column {self.column}: row {self.number} {what}")


def items(path: Path) -> Iterator[Item]:
    """The objects of a list, in order.

    Raises:
        ShardError: the file cannot be read, is no list of objects, or is damaged; it names the line and column.
    """
    number = 0
    try:
        # Some editors put a byte order mark at the start.
        with open(path, encoding="utf-8-sig", newline="") as stream:
            text = _Window(path, stream)
            text.take("[", "a list of objects")
            after = "]" if text.peek() == "]" else ","
            while after == ",":
                if text.peek() != "{":
                    raise text.damaged(f"row {number} is no object")
                line, column = text.where(text.at)
                yield Item(text.read(), number, path, line, column)
                number += 1
                after = text.take(",]", "a comma or the end of the list")
            if not number:
                text.take("]", "the end of the list")
            if text.peek():
                raise text.damaged("there is text after the list")
    except UnicodeDecodeError as error:
        raise ShardError(
            f"{path} is not UTF-8 at row {number} or in the {CHUNK} characters after it: {error}"
        ) from error
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror or error}") from error


class _Window:
    """The part of a text that is being read.

    Args:
        path: for messages.
        stream: the text.
    """

    def __init__(self, path: Path, stream: IO[str]) -> None:
        self.at = 0
        self._path = path
        self._stream = stream
        self._text = ""
        # A place in the window with the line breaks before it, and the characters after the last of them: lines are
        # counted from there, not from the start of the window anew for every object.
        self._mark = self._lines = self._columns = 0

    def peek(self) -> str:
        """The next character that is no white space, or an empty string at the end."""
        while True:
            space = _SPACE.match(self._text, self.at)
            assert space is not None
            self.at = space.end()
            if self.at < len(self._text):
                return self._text[self.at]
            if not self._more():
                return ""

    def take(self, marks: str, wanted: str) -> str:
        """The next character, which is one of some."""
        came = self.peek()
        if not came or came not in marks:
            raise self.damaged(f"wanted {wanted}, came {came!r}" if came else f"wanted {wanted}, and the file ends")
        self.at += 1
        return came

    def read(self) -> Any:
        """The object that begins here. What does not parse may go on in what was not read yet."""
        while True:
            try:
                value, self.at = _DECODER.raw_decode(self._text, self.at)
                return value
            except json.JSONDecodeError as error:
                into = error.pos - self.at
                if len(self._text) - self.at <= LONGEST and self._more():
                    continue
                raise self.damaged(error.msg, self.at + into) from None
            except RecursionError:
                raise self.damaged("objects are nested too deep") from None

    def where(self, at: int) -> tuple[int, int]:
        """Line and column of a place in the window, from 1. Places are asked for in order."""
        breaks = self._text.count("\n", self._mark, at)
        start = self._text.rfind("\n", self._mark, at) + 1 if breaks else self._mark
        self._columns = at - start + (0 if breaks else self._columns)
        self._lines += breaks
        self._mark = at
        return self._lines + 1, self._columns + 1

    def damaged(self, what: str, at: int | None = None) -> ShardError:
        """An error that says where."""
        line, column = self.where(self.at if at is None else at)
        return ShardError(f"{self._path}, line {line}, column {column}: {what}; wanted a JSON list of objects")

    def _more(self) -> bool:
        """Read on, twice as much each time, so that a long object is parsed anew few times."""
        self.where(self.at)
        self._text, self.at, self._mark = self._text[self.at :], 0, 0
        read = self._stream.read(max(CHUNK, len(self._text)))
        self._text += read
        return bool(read)
