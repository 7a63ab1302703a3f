"""An aiohttp application that a thread of its own serves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from aiohttp import web


class Serving:
    """Serves an application until it is closed.

    Args:
        application: what answers.
        port: to listen on; 0 for a free one.
    """

    def __init__(self, application: web.Application, port: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner = web.AppRunner(application, access_log=None)
        self._in_loop(self._start(port))
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def close(self) -> None:
        """End all connections and the thread."""
        self._in_loop(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def refuse(self) -> None:
        """Refuse new connections."""
        for site in list(self._runner.sites):
            await site.stop()

    async def _start(self, port: int) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def _stop(self) -> None:
        server = self._runner.server
        assert server is not None
        await self._runner.cleanup()
        # Connections that the loop was accepting meanwhile.
        if accepting := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(accepting, timeout=10)
        await server.shutdown(10)
        await asyncio.sleep(0)

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
