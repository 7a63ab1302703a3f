"""Server-sent events: parse the data of each event from a stream of bytes that may be split anywhere.

Follows the HTML standard (https://html.spec.whatwg.org/multipage/server-sent-events): lines end in LF, CR or CRLF,
several ``data`` lines form one value, a line that starts with a colon is a comment (sent to keep a connection alive),
and an event without a final empty line is incomplete and is discarded.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator


class Parser:
    """An incremental parser: takes chunks of bytes, returns complete events."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # The parts of the last line, joined once it ends: a line of many chunks would be copied with each of them.
        self._rest: list[str] = []
        self._data: list[str] = []
        self._first = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[str]:
        """The data of each event that this chunk completes."""
        text = self._decoder.decode(chunk)
        if self._first and text:
            text = text.removeprefix("\ufeff")
            self._first = False
        if self._after_cr and text:
            # The second half of a CRLF that was split between two chunks.
            text = text.removeprefix("\n")
            self._after_cr = False
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if lines:
            lines[0] = "".join((*self._rest, lines[0]))
            self._rest.clear()
        self._rest.append(rest)
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> str | None:
        """The data of the event that this line completes, or None."""
        if not line:
            event, self._data = "\n".join(self._data) if self._data else None, []
            return event
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        return None


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of each event."""
    parser = Parser()
    async for chunk in chunks:
        for event in parser.feed(chunk):
            yield event
