"""The application: every route, the middleware around them, and how refusals are answered."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from x_instruction.local_hub import (
    access_api,
    buckets_api,
    collections_api,
    commit_api,
    discussions_api,
    files_api,
    git_http,
    jobs_api,
    lfs_api,
    pages,
    refs_api,
    repos_api,
    resolve,
    xet_api,
)
from x_instruction.local_hub.incoming import Hub
from x_instruction.local_hub.refused import Refused

logger = logging.getLogger(__name__)

# Seconds in which a client can send the rest of a request that is answered already.
LINGER = 5.0

# The first route that fits is taken: those of the API come before those that begin with a namespace.
ROUTES = [
    *buckets_api.routes,
    *jobs_api.routes,
    *collections_api.routes,
    *repos_api.routes,
    *files_api.routes,
    *commit_api.routes,
    *refs_api.routes,
    *access_api.routes,
    *discussions_api.routes,
    *xet_api.routes,
    *lfs_api.routes,
    *resolve.routes,
    *git_http.routes,
    *repos_api.fallbacks,
    *pages.routes,
]


class RawPath:
    """Routes see the address as it came, so that an encoded slash within a part stays within it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii", "replace"), "root_path": ""}
        await self._app(scope, receive, send)


class RequestLog:
    """One line for each request: no query, which may be signed, and no header. Each answer gets its date."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        status, began = 0, time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                # Clients compare it with the times of a job's log.
                headers["Date"] = formatdate(usegmt=True)
            await send(message)

        sent = Headers(scope=scope) if scope["type"] == "http" else Headers()
        request_id = _request_id(sent.get("x-request-id") or sent.get("x-amzn-trace-id", ""))
        try:
            await self._app(scope, receive, noting)
        finally:
            if scope["type"] == "http":
                took = (time.monotonic() - began) * 1000
                logger.info("%s %s %s %.0f ms", scope["method"], scope["path"], status or "-", took)


class Lingering:
    """Reads what a client still sends after its answer, and keeps nothing of it.

    Many clients send a whole body before they read. If the connection were closed before, they would report a broken
    connection instead of the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        whole = False

        async def reading() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def lingering(message: Message) -> None:
            if whole or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            # The answer is sent now, and ends when the request has ended.
            await send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    while not whole:
                        await reading()
            await send({"type": "http.response.body", "body": b""})

        await self._app(scope, reading, lingering)


class SameOrigin:
    """Refuses what a web page of another site asks through a browser on this machine.

    Clients of the Hub send none of these headers. A name in ``Host`` that is not expected is a page whose name was
    pointed at this machine (DNS rebinding).

    Args:
        app: the application.
        hosts: names that the server is reached by, besides addresses and localhost; None for any.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] == "http" and (error := self._foreign(Headers(scope=scope), scope["method"], scope["path"])):
            await refusal(Request(scope), Refused(403, error))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _foreign(self, headers: Headers, method: str, path: str) -> str:
        host = _host(headers.get("host", ""))
        if self._hosts is not None and not is_address(host) and host != "localhost" and host not in self._hosts:
            return f"this server is not known as {host[:100]}: start it with --allowed-host {host[:100]}"
        reads = method in ("GET", "HEAD")
        origin = headers.get("origin")
        if origin == "null" and reads and "/view/" in path:
            # A report in its sandbox reads the files beside it. Only public files say that such a page may read them,
            # and a page of another site knows no names: lists are not read in this way.
            return ""
        if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            return f"requests from pages of {origin[:100]} are not answered"
        # A link or an address that was typed is fine; what a foreign page loads or sends is not.
        navigates = reads and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not navigates:
            return "requests from pages of other sites are not answered"
        return ""


def _host(header: str) -> str:
    """The name or address in a ``Host`` header, without the port."""
    return (urlsplit(f"//{header}").hostname or "") if header.isprintable() else ""


def is_address(host: str) -> bool:
    """Whether this is an IP address."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


class Quotas:
    """So many requests of each account; uploads to signed addresses are not counted."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if "signature" in request.query_params or scope["path"].startswith("/xet/"):
            await self._app(scope, receive, send)
            return
        try:
            headers = self._hub.requests.take(self._who(request))
        except Refused as error:
            await refusal(request, error)(scope, receive, send)
            return

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                response_headers = MutableHeaders(scope=message)
                for name, value in headers.items():
                    # A quota of the route itself says more.
                    response_headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, telling)

    def _who(self, request: Request) -> str:
        host = request.client.host if request.client else ""
        try:
            account = self._hub.accounts.by_header(request.headers.get("authorization"))
        except Refused:
            # Refused again, with the right answer, where the route asks who is there.
            return host
        return f"account {account.name}" if account else host


def refusal(request: Request, error: Exception) -> Response:
    """The answer to what was refused, as clients read it."""
    assert isinstance(error, Refused)
    headers = {"X-Error-Message": _header(error.message), **error.headers}
    if error.code:
        headers["X-Error-Code"] = error.code
    if error.status == 401 and not request.url.path.startswith("/api/"):
        # So git and browsers ask for a password, which is the token.
        headers["WWW-Authenticate"] = 'Basic realm="local hub", charset="UTF-8"'
    return JSONResponse({"error": error.message, **error.details}, error.status, headers)


def _header(text: str) -> str:
    # A header neither begins nor ends with a space.
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:500].strip()


def _request_id(sent: str) -> str:
    """The client's own id of a request, or a new one."""
    return sent if re.fullmatch(r"[\w.:-]{1,128}", sent, re.ASCII) else f"Root=1-{secrets.token_hex(12)}"


def gone(request: Request, error: Exception) -> Response:
    """The client went away in the middle of its request, so the answer is not read."""
    return Response(status_code=499)


def unknown(request: Request, error: Exception) -> Response:
    """The answer where no route is."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


HANDLERS = {Refused: refusal, HTTPException: unknown, ClientDisconnect: gone}


def application(hub: Hub, hosts: frozenset[str] | None = frozenset()) -> Starlette:
    """The server of one folder.

    Args:
        hub: the folder with its accounts.
        hosts: names that the server is reached by, besides addresses and localhost; None for any.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(hub.close)

    middleware = [
        Middleware(RawPath),
        Middleware(RequestLog),
        Middleware(Lingering),
        Middleware(SameOrigin, hosts=hosts),
        Middleware(Quotas, hub=hub),
    ]
    app = Starlette(routes=ROUTES, middleware=middleware, exception_handlers=HANDLERS, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.state.hub = hub
    return app
