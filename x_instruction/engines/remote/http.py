"""HTTP client for model servers: many concurrent requests, each with a result or a reason for its failure.

There are three kinds of errors. An error of one request (time-out, broken connection, 500) is retried ``retries``
times, then that record fails. An error of the whole server (unreachable, overloaded) makes all requests wait, for up to
``outage_timeout`` seconds: a server that restarts must not cost a thousand records. An error that waiting cannot fix
(wrong key, path or model name, no credit left) stops the run at once, with all answers kept.

The API key is read from the environment and sent in one header only. Redirects are not followed, so it is never sent to
another host.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import random
import time
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from x_instruction import __version__
from x_instruction.config.model import Server
from x_instruction.engines import Failed, Request, Result, keys
from x_instruction.engines.remote import openai_protocol
from x_instruction.engines.remote.concurrency import ConcurrencyLimiter
from x_instruction.engines.remote.request_window import RequestWindow
from x_instruction.errors import EngineError, MissingExtra

try:
    import aiohttp
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "aiohttp", "http") from error

# The whole server is overloaded, starting, or not reachable by its proxy.
_SERVER_STATUSES = frozenset({429, 502, 503, 504})
# Another attempt at this request may succeed; 424 is TGI's failed generation.
_RETRY_STATUSES = frozenset({408, 409, 424, 425, 500})
# Pauses between attempts in seconds: doubled from the first to the last, with up to 50 % random jitter.
_FIRST_WAIT, _LAST_WAIT = 0.25, 30.0
# Upper bound of a decompressed answer; no answer of a language model is larger.
_MAX_BYTES = 64 << 20
# If this many requests are rejected before any is answered, all others would be rejected too. Fewer prove nothing,
# since rejections arrive before the first answer does.
_REJECTED_AT_START = 32


class RequestRejected(Exception):
    """The server rejects a request as invalid, with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RetriesExhausted(Exception):
    """Every attempt at a request failed."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.failed = Failed(reason, message)


class _TooLarge(Exception):
    pass


_Answer = tuple[Any, Mapping[str, str]]
# Reads a body into (status, JSON text). The status replaces the response's own if that is 200: an event stream reports
# errors after its status line was sent.
Read = Callable[[AsyncIterator[bytes]], Awaitable[tuple[int, bytes]]]


@dataclass(slots=True)
class RequestCounts:
    """Counts of HTTP requests, for reports and tests."""

    sent: int = 0
    answered: int = 0
    retried: int = 0
    failed: int = 0


class Client:
    """Sends JSON to one server.

    Args:
        settings: address, key variable, time-out, limits.

    Raises:
        EngineError: no address, or a key that may not or cannot be sent.
    """

    def __init__(self, settings: Server) -> None:
        if not settings.url:
            raise EngineError(
                "server.url is not set: add the server's address, such as "
                '--set generate.model.server.url="http://localhost:8000/v1"'
            )
        self.settings = settings
        self.url = settings.url.rstrip("/")
        self.limiter = ConcurrencyLimiter(settings.concurrency)
        self.counts = RequestCounts()
        self._key = keys.read(settings.key_variable, self.url)
        self._session: aiohttp.ClientSession | None = None
        self._paused_until = 0.0
        self._last_answer = 0.0
        self._rejected = self._answered_before = 0
        self._proxy = _proxy(self.url)

    # Synchronous interface

    def answer_all(
        self,
        requests: Sequence[Request],
        ask: Callable[[Request], Awaitable[Result]],
        should_continue: Callable[[], bool],
    ) -> Iterator[tuple[int, Result]]:
        """Yield (position, result) as answers arrive; one per request unless ``should_continue`` ends it.

        Raises:
            EngineError: no request can be answered: the server is unreachable, or rejects every request.
        """
        self._last_answer = time.monotonic()
        self._rejected, self._answered_before = 0, self.counts.answered
        with self._connected() as loop:
            window = RequestWindow(
                requests, lambda request: _or_failed(ask, request), lambda: self.limiter.limit, should_continue
            )
            try:
                while results := loop.run_until_complete(window.next_results()):
                    yield from results
            finally:
                loop.run_until_complete(window.stop())

    def run(self, coroutine: Awaitable[Any]) -> Any:
        """Run one coroutine and return its result."""
        with self._connected() as loop:
            return loop.run_until_complete(coroutine)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[asyncio.AbstractEventLoop]:
        """An event loop with an HTTP session; both are closed at the end."""
        before = self._session
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            self._session = loop.run_until_complete(self._open())
            try:
                yield loop
            finally:
                loop.run_until_complete(self._session.close())
                # aiohttp closes its sockets in the next iteration of the loop.
                loop.run_until_complete(asyncio.sleep(0))
                self._session = before

    # Asynchronous interface

    async def post(self, path: str, body: dict[str, Any], retries: int | None = None) -> Any:
        """Send JSON and return the JSON answer; see ``exchange``."""
        return (await self.exchange(path, body, retries))[0]

    async def exchange(
        self, path: str, body: dict[str, Any], retries: int | None = None, read: Read | None = None
    ) -> _Answer:
        """Send JSON and return the JSON answer with its headers. Errors are retried as the module describes.

        Args:
            path: path below the server's address, or a full address.
            body: the JSON to send.
            retries: replaces the recipe's number of retries.
            read: reads a body that is an event stream; see ``Read``.

        Raises:
            RequestRejected: the request is invalid.
            RetriesExhausted: every attempt failed.
            EngineError: no request will be answered.
        """
        data = json.dumps(body).encode()
        retries = self.settings.retries if retries is None else retries
        attempts = failures = 0
        first_failure: float | None = None
        while True:
            while (pause := self._paused_until - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            started = time.monotonic()
            answer = await self._attempt("POST", path, data, started, read)
            if not isinstance(answer, _FailedAttempt):
                return answer
            self._check_outage(answer)
            first_failure = started if first_failure is None else first_failure
            attempts += 1
            # An outage of the server is not this request's fault and does not use up its retries.
            failures += not answer.whole_server
            if failures > retries or time.monotonic() - first_failure > self.settings.outage_timeout:
                self.counts.failed += 1
                raise RetriesExhausted(answer.reason, answer.message)
            self.counts.retried += 1
            wait = min(_LAST_WAIT, _FIRST_WAIT * 2 ** min(attempts - 1, 16))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    async def get(self, path: str) -> Any:
        """The JSON at a path, without retries.

        Raises:
            RequestRejected: any status but 200.
            EngineError: the server cannot be reached, or does not return JSON.
        """
        answer = await self._attempt("GET", path, None, time.monotonic())
        if not isinstance(answer, _FailedAttempt):
            return answer[0]
        if answer.status:
            raise RequestRejected(answer.status, answer.message)
        raise EngineError(f"{self.url}: {answer.message}; check that the server is running and the address is right")

    async def _attempt(
        self, method: str, path: str, data: bytes | None, started: float, read: Read | None = None
    ) -> _Answer | _FailedAttempt:
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
                return self._parse(status, response.headers, content, started)
        except _TooLarge:
            return _FailedAttempt("engine_bad_answer", f"the answer is larger than {_MAX_BYTES >> 20} MiB")
        except TimeoutError:
            self.limiter.overloaded(started)
            return _FailedAttempt("engine_timeout", f"no answer within {self.settings.timeout:g} seconds")
        except aiohttp.ClientConnectorError as error:
            return _FailedAttempt("engine_unavailable", f"cannot connect: {error.os_error}", whole_server=True)
        except aiohttp.InvalidURL as error:
            raise EngineError(
                f"server.url is {self.url}, expected an address such as http://host:8000: {error}"
            ) from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            return _FailedAttempt("engine_unavailable", f"the connection broke: {error or type(error).__name__}")

    def _parse(
        self, status: int, headers: Mapping[str, str], content: bytes, started: float
    ) -> _Answer | _FailedAttempt:
        if status == 200:
            try:
                answer = json.loads(content)
            except (ValueError, RecursionError):
                return _FailedAttempt("engine_bad_answer", f"the answer is not JSON: {self.error_text(content)}")
            self.limiter.succeeded(started)
            self.counts.answered += 1
            self._last_answer = time.monotonic()
            return answer, headers
        message = self.error_text(content)
        # OpenAI answers 429 both for overload and for an account without credit.
        if status in _SERVER_STATUSES and "insufficient_quota" not in message:
            if status in (429, 503):
                self.limiter.overloaded(started)
                self._pause(headers.get("Retry-After"))
            return _FailedAttempt("engine_unavailable", f"{status} {message}", True, status)
        if status in _RETRY_STATUSES:
            return _FailedAttempt("engine_unavailable", f"{status} {message}", False, status)
        raise self._permanent_error(status, message, headers.get("Location", ""))

    def _permanent_error(self, status: int, message: str, location: str) -> Exception:
        """The exception for a status that no further attempt can change."""
        key = self.settings.key_variable or "the key's variable (server.key_variable)"
        advice = {
            401: f"the key is missing: set {key}" if not self._key else f"check the key in {key}",
            402: "the account has no credit left",
            403: f"the key in {key} does not have this permission",
            429: "the account has no credit left",
        }
        if status in advice:
            return EngineError(f"{self.url} answers {status} {message}; {advice[status]}")
        if 300 <= status < 400:
            return EngineError(f"{self.url} redirects to {self.sanitize(location)}: set server.url to that address")
        return RequestRejected(status, message)

    def rejected(self, error: RequestRejected, reason: str) -> Failed:
        """The failure of one request that the server rejects as invalid.

        Raises:
            EngineError: many requests were rejected and none was answered, so the others would be rejected too.
        """
        self._rejected += 1
        if self._rejected >= _REJECTED_AT_START and self.counts.answered == self._answered_before:
            advice = "lower passage_tokens or response_tokens" if reason == "engine_too_long" else "change the recipe"
            raise EngineError(f"{self.url} rejects every request: {error.status} {error.message}; {advice}")
        return Failed(reason, f"{error.status} {error.message}")

    def _check_outage(self, attempt: _FailedAttempt) -> None:
        silent = time.monotonic() - self._last_answer
        if self._last_answer and silent > self.settings.outage_timeout:
            raise EngineError(
                f"{self.url} has not answered for {silent:.0f} seconds ({attempt.message}). All answers are kept: run "
                "the same command again when the server is back, or raise server.outage_timeout or server.timeout"
            )

    def _pause(self, header: str | None) -> None:
        """Send nothing for as long as Retry-After asks, up to ``outage_timeout`` seconds."""
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
        # No Brotli: it compresses a gigabyte into a kilobyte, and not all versions of its package can decompress in
        # steps, so that the limit on the size of an answer would come too late.
        headers["Accept-Encoding"] = "gzip, deflate"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.settings.timeout, sock_connect=min(30, self.settings.timeout)),
            connector=aiohttp.TCPConnector(limit=0),
        )

    def error_text(self, content: bytes) -> str:
        """The server's error message in a body, shortened and without the API key."""
        text = content[:20_000].decode("utf-8", "replace").strip()
        with contextlib.suppress(ValueError, RecursionError):
            text = openai_protocol.error_message(json.loads(text))
        if text[:200].lstrip().lower().startswith(("<!doctype", "<html")):
            text = "a web page (HTML), not an API"
        return self.sanitize(text) or "(nothing)"

    def sanitize(self, text: str) -> str:
        """A server's text for a message: one line, at most 240 characters, the API key masked."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= 240 else f"{text[:239]}…"


@dataclass(frozen=True, slots=True)
class _FailedAttempt:
    """An attempt that failed and may be repeated.

    Args:
        reason: a key of ``FAILURES``.
        message: a short explanation.
        whole_server: the error concerns all requests.
        status: the HTTP status; 0 if there was no answer.
    """

    reason: str
    message: str
    whole_server: bool = False
    status: int = 0


async def _or_failed(ask: Callable[[Request], Awaitable[Result]], request: Request) -> Result:
    try:
        return await ask(request)
    except RetriesExhausted as exhausted:
        return exhausted.failed


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The decompressed body. Its size is checked as it arrives, since Content-Length is the compressed size."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > _MAX_BYTES:
            raise _TooLarge
        yield chunk


async def _whole(chunks: AsyncIterator[bytes]) -> tuple[int, bytes]:
    return 200, b"".join([chunk async for chunk in chunks])


def _proxy(url: str) -> str | None:
    """The proxy of the environment for this address; none for addresses of this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
