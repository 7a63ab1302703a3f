"""A window of concurrent requests: as many in flight as a limit allows, results as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from x_instruction.engines import Request, Result

# Requests may take time to prepare. After so many seconds, answers are looked at first.
_PREPARING = 0.02


class RequestWindow:
    """A window of concurrent requests.

    Args:
        requests: the requests to send; taken as they are needed.
        ask: answers one request. An exception of it ends the window.
        limit: returns the current maximum of requests in flight.
        should_continue: called before each request is sent.
    """

    def __init__(
        self,
        requests: Iterable[Request],
        ask: Callable[[Request], Awaitable[Result]],
        limit: Callable[[], int],
        should_continue: Callable[[], bool],
    ) -> None:
        self.ask = ask
        self.limit = limit
        self.should_continue = should_continue
        self.queue: deque[tuple[int, Request]] = deque()
        self._requests = enumerate(requests)
        self.in_flight: set[asyncio.Task[None]] = set()
        self.results: list[tuple[int, Result]] = []
        self.error: BaseException | None = None
        self.event = asyncio.Event()

    def prepare(self) -> None:
        """Take requests, so that one is ready whenever another is answered. Not within the event loop, which waits."""
        end = time.monotonic() + _PREPARING
        most = max(1, self.limit())
        while len(self.queue) < most and (not self.queue or time.monotonic() < end):
            request = next(self._requests, None)
            if request is None:
                return
            self.queue.append(request)

    async def next_results(self) -> list[tuple[int, Result]]:
        """Wait for results and return those since the last call as (position, result); empty at the end."""
        self._fill()
        while not self.results and self.error is None and self.in_flight:
            self.event.clear()
            await self.event.wait()
        if self.error is not None and not self.results:
            raise self.error
        results, self.results = self.results, []
        return results

    def _fill(self) -> None:
        """Start requests up to the limit."""
        limit = self.limit()
        while self.queue and len(self.in_flight) < limit and self.error is None and self.should_continue():
            position, request = self.queue.popleft()
            task = asyncio.ensure_future(self._answer(position, request))
            self.in_flight.add(task)
            task.add_done_callback(self._finish)

    async def _answer(self, position: int, request: Request) -> None:
        # Not in one expression: ``next_results`` replaces the list while the answer is awaited.
        result = await self.ask(request)
        self.results.append((position, result))

    def _finish(self, task: asyncio.Task[None]) -> None:
        """Remove a finished task and start the next request."""
        self.in_flight.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error = self.error or error
        self._fill()
        self.event.set()

    async def stop(self) -> None:
        """Cancel the requests in flight."""
        self.queue.clear()
        for task in self.in_flight:
            task.cancel()
        await asyncio.gather(*self.in_flight, return_exceptions=True)
