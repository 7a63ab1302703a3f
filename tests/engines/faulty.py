"""A proxy that fails at random on the connection: ``python tests/engines/faulty.py --upstream PORT --rate 0.1``.

Each request has one fault at most: the connection is dropped before anything is answered, the answer stalls, is
429 (with Retry-After or without), 500, 502 or 503, is cut in its JSON though the length says otherwise, or the
connection closes in the middle of the body. With ``--misshapen``, some answers are JSON of another shape.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from collections import Counter

FAULTS = ("drop", "stall", "429", "429-after", "500", "502", "503", "truncate", "close")


class Proxy:
    def __init__(self, upstream: int, rate: float, seed: int, stall: float, misshapen: float = 0.0) -> None:
        self.upstream = upstream
        self.rate = rate
        self.random = random.Random(seed)
        self.stall = stall
        self.misshapen = misshapen
        self.faults: Counter[str] = Counter()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self.one(reader, writer):
                pass
        writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Returns whether the connection stays open."""
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_length(head))
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/faults"):
            _plain(writer, 200, repr(dict(self.faults)))
            return True
        fault = self.random.choice(FAULTS) if self.random.random() < self.rate and b"POST" in head[:5] else ""
        if fault:
            self.faults[fault] += 1
        if fault == "drop":
            return False
        if fault == "stall":
            await asyncio.sleep(self.stall)
            return False
        if fault[:3].isdigit():
            _plain(writer, int(fault[:3]), '{"error": {"message": "injected"}}', fault.endswith("after"))
            return True
        answer_head, answer = await self.forward(head, body)
        if self.misshapen and self.random.random() < self.misshapen:
            self.faults["misshapen"] += 1
            _plain(writer, 200, '{"choices": 7}')
            return True
        if fault == "truncate":
            answer = answer[: len(answer) // 2]
            answer_head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
        if fault == "close":
            answer = answer[: len(answer) // 2]
        writer.write(answer_head + answer)
        await writer.drain()
        return fault != "close"

    async def forward(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        writer.write(head + body)
        answer_head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(_length(answer_head))
        writer.close()
        return answer_head, answer


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def _plain(writer: asyncio.StreamWriter, status: int, text: str, after: bool = False) -> None:
    retry = "Retry-After: 0.05\r\n" if after else ""
    writer.write(f"HTTP/1.1 {status} X\r\n{retry}Content-Length: {len(text)}\r\n\r\n{text}".encode())


async def serve(port: int, proxy: Proxy) -> None:
    server = await asyncio.start_server(proxy.connection, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--misshapen", type=float, default=0.0, help="share of answers of another shape")
    parser.add_argument("--stall", type=float, default=5.0, help="seconds before a stalled connection is closed")
    given = parser.parse_args()
    asyncio.run(serve(given.port, Proxy(given.upstream, given.rate, given.seed, given.stall, given.misshapen)))
