"""Asking a server over HTTP: many requests at once, each answered or failed with its reason.

Trouble comes in three kinds. What concerns one request (a time-out, a broken connection, a 500) is tried again
``retries`` times, and then that record fails. What concerns the whole server (it cannot be reached, it is overloaded)
is waited out, for all requests together, up to ``outage_timeout``: a server that restarts must not cost a thousand
records.
What no waiting mends (a wrong key, path or model name, an empty purse) stops the run at once, with everything kept.

The API key goes from the environment into one header and nowhere else; redirects are not followed, so it is not handed
on either.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import os
import random
import time
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from x_instruction import __version__
from x_instruction.config.model import Server
from x_instruction.engines import Failed, Request, Result
from x_instruction.engines.remote import openai_protocol
from x_instruction.engines.remote.concurrency import ConcurrencyLimiter
from x_instruction.engines.remote.request_window import RequestWindow
from x_instruction.errors import EngineError, MissingExtra

try:
    import aiohttp
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "aiohttp", "http") from error

# The server as a whole is busy, starting or behind a proxy that does not reach it.
_WAIT_OUT = frozenset({429, 502, 503, 504})
# This request may fare better another time; 424 is TGI's failed generation.
_TRY_AGAIN = frozenset({408, 409, 424, 425, 500})
# Waits between tries, in seconds: doubled from the first to the last, each shortened by up to half at random.
_FIRST_WAIT, _LAST_WAIT = 0.25, 30.0
# No answer of a language model is larger once it is unpacked.
_MAX_BYTES = 64 << 20
# So many requests refused before any was answered mean that all will be. A refusal comes at once and an answer takes
# seconds, so a few say nothing; nor do those that are left of a shard whose other requests were answered before.
_REFUSED_AT_START = 32


class RequestRejected(Exception):
    """The server calls a request invalid; ``status`` and ``message`` are its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RetriesExhausted(Exception):
    """A request failed at every try."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.failed = Failed(reason, message)


class _TooLarge(Exception):
    pass


_Answer = tuple[Any, Mapping[str, str]]
# Reads a body: the status that it amounts to, which counts where the response's own is 200, and JSON.
Read = Callable[[AsyncIterator[bytes]], Awaitable[tuple[int, bytes]]]


@dataclass(slots=True)
class Counts:
    """What happened on the wire, for reports and tests."""

    sent: int = 0
    answered: int = 0
    retried: int = 0
    failed: int = 0


class Client:
    """Sends JSON to one server.

    Args:
        settings: address, key variable, time-out, limits.
    """

    def __init__(self, settings: Server) -> None:
        if not settings.url:
            raise EngineError(
                'no server is named: give its address, as --set generate.model.server.url="http://localhost:8000/v1"'
            )
        self.settings = settings
        self.url = settings.url.rstrip("/")
        self.throttle = ConcurrencyLimiter(settings.concurrency)
        self.counts = Counts()
        self._key = os.environ.get(settings.key_variable, "") if settings.key_variable else ""
        if not self._key.isprintable() or not self._key.isascii():
            raise EngineError(f"the key in {settings.key_variable} holds characters that no header can carry")
        self._session: aiohttp.ClientSession | None = None
        self._paused_until = 0.0
        self._last_answer = 0.0
        self._refused = self._answered_before = 0
        self._proxy = _proxy(self.url)

    # Synchronous side

    def each(
        self,
        requests: Sequence[Request],
        ask: Callable[[Request], Awaitable[Result]],
        should_continue: Callable[[], bool],
    ) -> Iterator[tuple[int, Result]]:
        """Yield (position, result) as answers arrive; one per request unless ``should_continue`` ends it.

        Raises:
            EngineError: no request can be answered: the server is gone, or refuses all.
        """
        self._last_answer = time.monotonic()
        self._refused, self._answered_before = 0, self.counts.answered
        with self._connected() as loop:
            sending = RequestWindow(
                requests, lambda request: _answered(ask, request), lambda: self.throttle.limit, should_continue
            )
            try:
                while found := loop.run_until_complete(sending.some()):
                    yield from found
            finally:
                loop.run_until_complete(sending.stop())

    def now(self, ask: Awaitable[Any]) -> Any:
        """The result of one coroutine, for what is asked before the work begins."""
        with self._connected() as loop:
            return loop.run_until_complete(ask)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[asyncio.AbstractEventLoop]:
        """A loop of our own with connections that live as long; nothing is left open after it."""
        before = self._session
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            self._session = loop.run_until_complete(self._open())
            try:
                yield loop
            finally:
                loop.run_until_complete(self._session.close())
                # Sockets are closed by the loop's next turn.
                loop.run_until_complete(asyncio.sleep(0))
                self._session = before

    # Asynchronous side

    async def post(self, path: str, body: dict[str, Any], retries: int | None = None) -> Any:
        """The JSON that the server answers; see ``exchange``."""
        return (await self.exchange(path, body, retries))[0]

    async def exchange(
        self, path: str, body: dict[str, Any], retries: int | None = None, read: Read | None = None
    ) -> _Answer:
        """The JSON that the server answers and the headers of it, tried again as the module says.

        Args:
            path: below the server's address, or a whole address.
            retries: instead of the recipe's.
            read: makes one JSON text of a body that is none, such as a stream of events.

        Raises:
            Refused: the request is invalid, and stays so.
            GivenUp: it failed at every try.
            EngineError: no request will be answered.
        """
        data = json.dumps(body).encode()
        retries = self.settings.retries if retries is None else retries
        attempts = failures = 0
        troubled_since: float | None = None
        while True:
            while (pause := self._paused_until - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            started = time.monotonic()
            trouble = await self._try("POST", path, data, started, read)
            if not isinstance(trouble, _Trouble):
                return trouble
            self._check_patience(trouble)
            troubled_since = started if troubled_since is None else troubled_since
            attempts += 1
            failures += not trouble.whole_server
            if failures > retries or time.monotonic() - troubled_since > self.settings.outage_timeout:
                self.counts.failed += 1
                raise RetriesExhausted(trouble.reason, trouble.message)
            self.counts.retried += 1
            wait = min(_LAST_WAIT, _FIRST_WAIT * 2 ** min(attempts - 1, 16))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    async def get(self, path: str) -> Any:
        """The JSON at a path, asked once.

        Raises:
            Refused: any status but 200.
            EngineError: the server cannot be reached, or does not speak JSON.
        """
        trouble = await self._try("GET", path, None, time.monotonic())
        if not isinstance(trouble, _Trouble):
            return trouble[0]
        if trouble.status:
            raise RequestRejected(trouble.status, trouble.message)
        raise EngineError(f"{self.url}: {trouble.message}; is the server running, and is the address right?")

    async def _try(
        self, method: str, path: str, data: bytes | None, started: float, read: Read | None = None
    ) -> _Answer | _Trouble:
        assert self._session is not None
        self.counts.sent += 1
        try:
            async with self._session.request(
                method,
                path if path.startswith("http") else self.url + path,
                data=data,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                reader = read if read is not None and response.content_type == "text/event-stream" else _whole
                async with contextlib.aclosing(_chunks(response)) as chunks:
                    status, content = await reader(chunks)
                status = status if response.status == 200 else response.status
                return self._judge(status, response.headers, content, started)
        except _TooLarge:
            return _Trouble("engine_bad_answer", f"the answer is larger than {_MAX_BYTES >> 20} MiB")
        except TimeoutError:
            self.throttle.overloaded(started)
            return _Trouble("engine_timeout", f"no answer within {self.settings.timeout:g} seconds")
        except aiohttp.ClientConnectorError as error:
            return _Trouble("engine_unavailable", f"cannot connect: {error.os_error}", whole_server=True)
        except aiohttp.InvalidURL as error:
            raise EngineError(f"{self.url} is not an address: {error}") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            return _Trouble("engine_unavailable", f"the connection broke: {error or type(error).__name__}")

    def _judge(self, status: int, headers: Mapping[str, str], content: bytes, started: float) -> _Answer | _Trouble:
        if status == 200:
            try:
                answer = json.loads(content)
            except (ValueError, RecursionError):
                return _Trouble("engine_bad_answer", f"the answer is not JSON: {self.said(content)}")
            self.throttle.succeeded(started)
            self.counts.answered += 1
            self._last_answer = time.monotonic()
            return answer, headers
        message = self.said(content)
        if status in _WAIT_OUT and "insufficient_quota" not in message:
            if status in (429, 503):
                self.throttle.overloaded(started)
                self._pause(headers.get("Retry-After"))
            return _Trouble("engine_unavailable", f"{status} {message}", True, status)
        if status in _TRY_AGAIN:
            return _Trouble("engine_unavailable", f"{status} {message}", False, status)
        raise self._final(status, message, headers.get("Location", ""))

    def _final(self, status: int, message: str, location: str) -> Exception:
        """What no further try can mend."""
        key = self.settings.key_variable or "the key's variable (server.key_variable)"
        advice = {
            401: f"the key is missing or not accepted: set {key}" if not self._key else f"is the key in {key} right?",
            402: "nothing is left to spend on this account",
            403: f"the key in {key} may not do this",
            429: "nothing is left to spend on this account",
        }
        if status in advice:
            return EngineError(f"{self.url} answers {status} {message}; {advice[status]}")
        if 300 <= status < 400:
            return EngineError(f"{self.url} points to {self.clean(location)}: put that address into server.url")
        return RequestRejected(status, message)

    def refused(self, error: RequestRejected, reason: str) -> Failed:
        """What becomes of one request that the server calls invalid.

        Raises:
            EngineError: nothing was answered so far and several requests were refused: the rest would be too.
        """
        self._refused += 1
        if self._refused >= _REFUSED_AT_START and self.counts.answered == self._answered_before:
            advice = "lower passage_tokens or response_tokens" if reason == "engine_too_long" else "mend the recipe"
            raise EngineError(f"{self.url} refuses every request: {error.status} {error.message}; {advice}")
        return Failed(reason, f"{error.status} {error.message}")

    def _check_patience(self, trouble: _Trouble) -> None:
        silent = time.monotonic() - self._last_answer
        if self._last_answer and silent > self.settings.outage_timeout:
            raise EngineError(
                f"{self.url} has answered nothing for {silent:.0f} seconds ({trouble.message}); what was answered is "
                "kept: run the same command again when the server is well, or raise server.outage_timeout or "
                "server.timeout"
            )

    def _pause(self, header: str | None) -> None:
        """Send nothing for as long as Retry-After asks, but no longer than the user's patience."""
        if not header:
            return
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            seconds = (
                float(header)
                if header.strip().replace(".", "", 1).isdigit()
                else email.utils.parsedate_to_datetime(header).timestamp() - time.time()
            )
            self._paused_until = max(self._paused_until, time.monotonic() + min(seconds, self.settings.outage_timeout))

    async def _open(self) -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/json", "User-Agent": f"x_instruction/{__version__}"}
        # Brotli packs a gigabyte into a kilobyte, and not every version of its package can be stopped on the way.
        headers["Accept-Encoding"] = "gzip, deflate"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.settings.timeout, sock_connect=min(30, self.settings.timeout)),
            connector=aiohttp.TCPConnector(limit=0),
        )

    def said(self, content: bytes) -> str:
        """What a server says in its own words, short and without what must not be shown."""
        text = content[:20_000].decode("utf-8", "replace").strip()
        with contextlib.suppress(ValueError, RecursionError):
            text = openai_protocol.said(json.loads(text))
        if text[:200].lstrip().lower().startswith(("<!doctype", "<html")):
            text = "a web page (HTML), not an API"
        return self.clean(text) or "(nothing)"

    def clean(self, text: str) -> str:
        """Text of a server for a message: one line, short, the key blotted out."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= 240 else f"{text[:239]}…"


@dataclass(frozen=True, slots=True)
class _Trouble:
    """A try that did not work, and may next time."""

    reason: str
    message: str
    whole_server: bool = False
    status: int = 0


async def _answered(ask: Callable[[Request], Awaitable[Result]], request: Request) -> Result:
    try:
        return await ask(request)
    except RetriesExhausted as given_up:
        return given_up.failed


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The body, unpacked: its bytes are counted as they come, since Content-Length is that of the packed ones."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > _MAX_BYTES:
            raise _TooLarge
        yield chunk


async def _whole(chunks: AsyncIterator[bytes]) -> tuple[int, bytes]:
    return 200, b"".join([chunk async for chunk in chunks])


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address; never one for this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
