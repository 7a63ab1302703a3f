"""A server whose bytes are wrong in every part: status line, headers, chunks, compression and body."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import threading
import zlib
from collections.abc import Callable, Sequence

from x_instruction.config.model import Model, Server
from x_instruction.engines import Completion, Result
from x_instruction.engines.remote.openai import OpenAIEngine

GOOD = json.dumps({"choices": [{"text": "What is rice?", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}})
BODIES: Sequence[bytes] = (
    *(b"", b"null", b"[]", b'"x"', b"7", b"{", b"[" * 100_000, b"<html>", b"\xff\xfe", GOOD.encode("utf-16")),
    *(b"\xef\xbb\xbf" + GOOD.encode(), GOOD[:40].encode(), GOOD.encode() * 2, b"data: " + GOOD.encode() + b"\n\n"),
    GOOD.replace("What", "\\ud83d\\u0000\\u202e").encode(),
    *(GOOD.replace("3}", f"{usage}}}").encode() for usage in ("-1", "1" + "0" * 30, "1e400", "NaN", "9" * 5_000, "[]")),
    *(b'{"error": ' + body + b"}" for body in (b"7", b'{"message": ["a"]}', b'{"error": ' * 900 + b"1" + b"}" * 900)),
)
# Not those that make the client wait for the server, or that end a run as they should.
STATUSES = (
    *("HTTP/1.1 200", "HTTP/1.1 204 No Content", "HTTP/1.1 400 Bad", "HTTP/1.1 408 Late", "HTTP/1.1 413 Large"),
    *("HTTP/1.1 422 No", "HTTP/1.1 500 Bad", "HTTP/1.1 599 \xff", "HTTP/1.1 999 x", "HTTP/9.9 200 OK", "HTTP/1.1 abc"),
    *("ICY 200 OK", "", "HTTP/1.1  ", "{}"),
)
ENCODINGS: Sequence[tuple[str, Callable[[bytes], bytes]]] = (
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("gzip", bytes),
    ("gzip", lambda body: gzip.compress(body)[:-6]),
    ("gzip", lambda body: gzip.compress(body) + gzip.compress(body)),
    ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ("deflate", lambda body: zlib.compress(body)[2:-4]),
    *((name, bytes) for name in ("br", "zstd", "identity", "x" * 300)),
)
HEADERS: Sequence[str] = (
    "X-A: " + "a" * 100_000,
    "\r\n".join(f"X-{number}: a" for number in range(5_000)),
    "\r\n".join(f"Set-Cookie: a{number}=b" for number in range(500)),
    *("X-A: \x00", "no colon", ": no name", " folded: x", "X-A: \xff", "Content-Type: " + "x/" * 2_000),
    *("Content-Type: text/event-stream", "Content-Type:", "Retry-After: -1e9", "Location: \x01", "Connection: upgrade"),
)


def answer(chance: random.Random) -> bytes:
    """The bytes of an answer. One or two parts are wrong, or none."""
    wrong = set(
        chance.choices(("body", "encoding", "bit", "status", "header", "framing"), k=chance.choice((0, 1, 1, 2)))
    )
    encoding, pack = chance.choice(ENCODINGS) if "encoding" in wrong else ("", bytes)
    body = pack(chance.choice(BODIES) if "body" in wrong else GOOD.encode())
    if body and "bit" in wrong:
        place = chance.randrange(len(body))
        body = body[:place] + bytes([body[place] ^ 1 << chance.randrange(8)]) + body[place + 1 :]
    head = [chance.choice(STATUSES) if "status" in wrong else "HTTP/1.1 200 OK"]
    head += [chance.choice(HEADERS)] if "header" in wrong else []
    head += [f"Content-Encoding: {encoding}"] if encoding else []
    size = str(len(body))
    if "framing" not in wrong:
        head.append(f"Content-Length: {size}")
    elif chance.random() < 0.5:
        head.append("Transfer-Encoding: chunked")
        size = chance.choice([f"{len(body):x}", "-1", "zz", "f" * 20, f"{len(body) + 9:x}", "0"])
        body = f"{size}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    else:
        sizes = ["-1", "abc", "9" * 30, str(len(body) + 9), str(len(body) // 2), "", f"{size}\r\nContent-Length: 7"]
        head.append(f"Content-Length: {chance.choice(sizes)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


class _Server:
    """Answers the n-th fuzzed request with bytes that follow from ``seed`` and n, and probes as a good server does."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.loop = asyncio.new_event_loop()
        started = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = self.loop.run_until_complete(started)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            size = head.partition("content-length:")[2].partition("\r\n")[0]
            body = json.loads(await reader.readexactly(int(size))) if size else {}
            number = str(body.get("prompt", "")).removeprefix("fuzz ")
            if number.isdigit() and "fuzz" in body["prompt"]:
                content = answer(random.Random(f"{self._seed} {number}"))
            else:
                said = json.dumps({"data": [{"id": "m"}]}) if "/models" in head else GOOD
                content = f"HTTP/1.1 200 OK\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode()
            writer.write(content)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        """End the server."""
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


def results(number: int, seed: int) -> list[Result]:
    """What the engine makes of so many answers."""
    server = _Server(seed)
    try:
        settings = Server(url=f"http://127.0.0.1:{server.port}/v1", retries=0, timeout=60.0, outage_timeout=60.0)
        engine = OpenAIEngine(Model(name="m", engine="openai", server=settings))
        found = dict(engine.answer([Completion(f"fuzz {one}", 8) for one in range(number)]))
    finally:
        server.close()
    return [found[one] for one in range(number)]
