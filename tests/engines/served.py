"""A server that speaks OpenAI's API and answers from its requests alone: ``python tests/engines/served.py``.

It is small enough to answer thousands of requests a second on one core, so that what is measured is the client. With
``--capacity`` it works on so many requests at once and lets the others wait, as vLLM does, without ever refusing one.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from collections import Counter
from typing import Any


class Served:
    """State shared by all connections."""

    def __init__(self, latency: float, capacity: int) -> None:
        self.latency = latency
        self.slots = asyncio.Semaphore(capacity) if capacity else None
        self.asked: Counter[str] = Counter()
        self.first = self.last = 0.0
        self.under_way = 0
        self.most = 0

    async def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path.endswith("/models"):
            return {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "test"}]}
        if path.endswith("/asked"):
            return {"asked": self.asked, "most": self.most, "seconds": self.last - self.first}
        request = json.loads(body)
        prompt = request.get("prompt") or json.dumps(request["messages"])
        if '"p ' in prompt or prompt.startswith("p "):
            self.first = self.first or time.monotonic()
        self.asked[prompt] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.slots is None:
                await asyncio.sleep(self.latency)
            else:
                async with self.slots:
                    await asyncio.sleep(self.latency)
        finally:
            self.under_way -= 1
            self.last = time.monotonic()
        text = text_for(prompt)
        message: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        message |= {"text": text} if "prompt" in request else {"message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(text), "total_tokens": len(prompt + text)}
        return {"id": "x", "object": "answer", "created": 0, "model": "m", "choices": [message], "usage": usage}


def text_for(prompt: str) -> str:
    """The answer to a prompt."""
    return f"answer {hashlib.sha256(prompt.encode()).hexdigest()[:12]}"


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests on it come one after another."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        close = headers.get("connection", "").lower() == "close"
        self.task = asyncio.ensure_future(self.write(lines[0].split(" ")[1], rest[:length], close))

    async def write(self, path: str, body: bytes, close: bool) -> None:
        content = json.dumps(await self.served.answer(path, body)).encode()
        if not self.transport.is_closing():
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            self.transport.write(head.encode() + content)
        if close:
            self.transport.close()


async def serve(port: int, latency: float, capacity: int) -> None:
    served = Served(latency, capacity)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(served), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds of work on a request")
    parser.add_argument("--capacity", type=int, default=0, help="requests worked on at once; 0 for all")
    given = parser.parse_args()
    asyncio.run(serve(given.port, given.latency, given.capacity))
