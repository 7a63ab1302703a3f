"""A local hub with the faults listed in a file: ``python tests/local_hub/faulty_server.py FAULTS.json OPTIONS``.

The file is a list of ``{"method", "path", "times"}``, the path a regular expression, and one of ``{"status": 500}``
(with ``"headers"`` if any), ``{"drop": true}`` (the connection is cut within the answer) and ``{"wait": seconds}``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from x_instruction import cli
from x_instruction.local_hub import server
from x_instruction.local_hub.incoming import Hub


class Faults:
    def __init__(self, app: ASGIApp, path: Path) -> None:
        self._app = app
        self._path = path

    def _take(self, scope: Scope) -> dict[str, Any] | None:
        faults = json.loads(self._path.read_text()) if self._path.exists() else []
        for fault in faults:
            fits = fault["method"] == scope["method"] and re.search(fault["path"], scope["raw_path"].decode())
            if fits and fault["times"] > 0:
                fault["times"] -= 1
                self._path.write_text(json.dumps(faults))
                found: dict[str, Any] = fault
                return found
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._take(scope) if scope["type"] == "http" else None
        if fault is None or "wait" in fault:
            await asyncio.sleep(fault["wait"] if fault else 0)
            await self._app(scope, receive, send)
        elif "status" in fault:
            answer = JSONResponse({"error": "a fault"}, fault["status"], fault.get("headers"))
            await answer(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
            await send({"type": "http.response.body", "body": b"cut", "more_body": True})
            raise ConnectionResetError("a fault")


def serve() -> None:
    faults, sys.argv = Path(sys.argv[1]), ["x-instruction", "hub", "serve", *sys.argv[2:]]
    whole = server.application

    def faulty(hub: Hub, hosts: frozenset[str] | None) -> Starlette:
        app = whole(hub, hosts)
        app.add_middleware(Faults, path=faults)
        return app

    server.application = faulty
    cli.main()


if __name__ == "__main__":
    serve()
