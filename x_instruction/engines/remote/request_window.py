"""Requests on their way: as many at once as a limit allows, results as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from x_instruction.engines import Request, Result


class RequestWindow:
    """Requests on their way.

    Args:
        ask: answers one request; what it raises ends all.
        limit: how many may be under way now.
        go_on: asked before each is sent.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        ask: Callable[[Request], Awaitable[Result]],
        limit: Callable[[], int],
        should_continue: Callable[[], bool],
    ) -> None:
        self.ask = ask
        self.limit = limit
        self.should_continue = should_continue
        self.left = deque(enumerate(requests))
        self.under_way: set[asyncio.Task[None]] = set()
        self.found: list[tuple[int, Result]] = []
        self.error: BaseException | None = None
        self.event = asyncio.Event()

    async def some(self) -> list[tuple[int, Result]]:
        """Results that have come since the last call, at least one; none at the end."""
        self.fill()
        while not self.found and self.error is None and self.under_way:
            self.event.clear()
            await self.event.wait()
        if self.error is not None and not self.found:
            raise self.error
        found, self.found = self.found, []
        return found

    def fill(self) -> None:
        """Start requests up to the limit."""
        limit = self.limit()
        while self.left and len(self.under_way) < limit and self.error is None and self.should_continue():
            position, request = self.left.popleft()
            task = asyncio.ensure_future(self.one(position, request))
            self.under_way.add(task)
            task.add_done_callback(self.done)

    async def one(self, position: int, request: Request) -> None:
        """Answer one request."""
        # Awaited first: the list is another one after every ``some``.
        result = await self.ask(request)
        self.found.append((position, result))

    def done(self, task: asyncio.Task[None]) -> None:
        """Make room for the next one."""
        self.under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error = self.error or error
        self.fill()
        self.event.set()

    async def stop(self) -> None:
        """Drop what is under way."""
        self.left.clear()
        for task in self.under_way:
            task.cancel()
        await asyncio.gather(*self.under_way, return_exceptions=True)
