"""Server-sent events: the data of each event in a stream of bytes, wherever the bytes are cut.

After the HTML standard's rules for parsing an event stream (https://html.spec.whatwg.org/multipage/server-sent-events):
lines end in LF, CR or CRLF, several ``data`` lines are one value, a line that starts with a colon is a comment (proxies
and servers send them to keep a connection alive), and an event that no empty line ends was cut off and is none.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator


class Parser:
    """Takes bytes as they come, gives events as they are complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._data: list[str] = []
        self._first = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that these bytes complete."""
        text = self._decoder.decode(chunk)
        if self._first and text:
            text = text.removeprefix("\ufeff")
            self._first = False
        if self._after_cr and text:
            # The second half of a CRLF that was cut in two.
            text = text.removeprefix("\n")
            self._after_cr = False
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, self._rest = (self._rest + text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> str | None:
        """The data of the event that this line ends."""
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
