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
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from x_instruction import __version__
from x_instruction.config.model import Server
from x_instruction.engines import Failed, Request, Result, keys
from x_instruction.engines.remote import openai_protocol
from x_instruction.engines.remote.endpoints import FIRST_WAIT, LAST_WAIT, READ_EVERY, Endpoint, Endpoints
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
    """Every attempt at a request failed. ``status`` is the last one's, or 0 if it had no answer."""

    def __init__(self, reason: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.failed = Failed(reason, message)
        self.status = status


class Unreachable(EngineError):
    """A server cannot be reached, or answers no JSON."""


class _TooLarge(Exception):
    pass


Checked = TypeVar("Checked")
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
    """Sends JSON to the servers of one model.

    Args:
        settings: address or file of addresses, key variable, time-out, limits.

    Raises:
        EngineError: no address, or a key that may not or cannot be sent.
    """

    def __init__(self, settings: Server) -> None:
        self.settings = settings
        self.endpoints = Endpoints(settings)
        self.counts = RequestCounts()
        self._key = keys.read(settings.key_variable, settings.place)
        self._session: aiohttp.ClientSession | None = None
        self._check: Callable[[Endpoint], Awaitable[Any]] | None = None
        self._last_answer = 0.0
        self._rejected = self._answered_before = 0

    @property
    def url(self) -> str:
        """Address of the endpoint whose capabilities are those of all."""
        return self.endpoints.first.url

    # Synchronous interface

    def answer_all(
        self,
        requests: Iterable[Request],
        ask: Callable[[Request], Awaitable[Result]],
        should_continue: Callable[[], bool],
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield (position, result) as answers arrive; one per request unless ``should_continue`` ends it.

        Requests are taken when there is room for them.

        Raises:
            EngineError: no request can be answered: the server is unreachable, or rejects every request.
        """
        self._last_answer = time.monotonic()
        self._rejected, self._answered_before = 0, self.counts.answered
        with self._connected() as loop:
            window = RequestWindow(
                requests, lambda request: _or_failed(ask, request), lambda: self.endpoints.limit, should_continue
            )
            try:
                while True:
                    window.prepare()
                    if not (results := loop.run_until_complete(window.next_results())):
                        return
                    yield from results
            finally:
                loop.run_until_complete(window.stop())

    def run(self, coroutine: Awaitable[Any]) -> Any:
        """Run one coroutine and return its result."""
        with self._connected() as loop:
            return loop.run_until_complete(coroutine)

    def connect(self, check: Callable[[Endpoint], Awaitable[Checked]]) -> Checked:
        """Check the first endpoint that can be reached, and later each other one before its first request.

        Args:
            check: reads what an endpoint serves.

        Returns:
            What ``check`` returned.

        Raises:
            EngineError: no endpoint can be reached, or what ``check`` raises.
        """
        first: Unreachable | None = None
        for endpoint in self.endpoints.all:
            try:
                found: Checked = self.run(check(endpoint))
            except Unreachable as error:
                endpoint.failed()
                first = first or error
                continue
            endpoint.checked = True
            self.endpoints.first = endpoint
            self._check = check
            return found
        assert first is not None
        if not self.endpoints.several:
            raise first
        raise EngineError(f"{self.endpoints.file}: no endpoint can be reached, such as {first}")

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
            endpoint = self.endpoints.pick()
            if endpoint.pause or (self.endpoints.several and endpoint.is_tried):
                await asyncio.sleep(min(endpoint.pause or FIRST_WAIT, READ_EVERY))
                continue
            started = time.monotonic()
            endpoint.in_flight += 1
            try:
                answer = await self._checked(endpoint) or await self._attempt(
                    endpoint, "POST", path, data, started, read
                )
            finally:
                endpoint.in_flight -= 1
            if not isinstance(answer, _FailedAttempt):
                endpoint.failures = 0
                return answer
            self._check_outage(answer)
            first_failure = started if first_failure is None else first_failure
            attempts += 1
            # An outage of the server is not this request's fault and does not use up its retries.
            failures += not answer.whole_server
            if failures > retries or time.monotonic() - first_failure > self.settings.outage_timeout:
                self.counts.failed += 1
                raise RetriesExhausted(answer.reason, answer.message, answer.status)
            self.counts.retried += 1
            if self.endpoints.several and answer.is_down:
                endpoint.failed()
                if attempts < len(self.endpoints.all):
                    # At another one.
                    continue
            wait = min(LAST_WAIT, FIRST_WAIT * 2 ** min(attempts - 1, 16))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    async def _checked(self, endpoint: Endpoint) -> _FailedAttempt | None:
        """Check an endpoint before its first request; why it cannot be reached.

        Raises:
            EngineError: it serves something else.
        """
        if endpoint.checked or self._check is None:
            return None
        try:
            await self._check(endpoint)
        except Unreachable as error:
            return _FailedAttempt("engine_unavailable", str(error), whole_server=True)
        endpoint.checked = True
        return None

    async def get(self, endpoint: Endpoint, path: str) -> Any:
        """The JSON at a path of an endpoint. A failure that may be a passing one is retried twice.

        Raises:
            RequestRejected: any status but 200.
            Unreachable: the endpoint cannot be reached, is overloaded, or does not return JSON.
        """
        for wait in (0.0, FIRST_WAIT, 2 * FIRST_WAIT):
            await asyncio.sleep(wait)
            answer = await self._attempt(endpoint, "GET", path, None, time.monotonic())
            if not isinstance(answer, _FailedAttempt):
                return answer[0]
            failed = answer
            if failed.reason == "engine_timeout" or (failed.whole_server and not failed.status):
                break
        if failed.status and not failed.whole_server:
            raise RequestRejected(failed.status, failed.message)
        raise Unreachable(
            f"{endpoint.url}: {failed.message}; check that the server is running and the address is right"
        )

    async def _attempt(
        self, endpoint: Endpoint, method: str, path: str, data: bytes | None, started: float, read: Read | None = None
    ) -> _Answer | _FailedAttempt:
        assert self._session is not None
        self.counts.sent += 1
        try:
            async with self._session.request(
                method,
                path if path.startswith("http") else endpoint.url + path,
                data=data,
                proxy=endpoint.proxy,
                allow_redirects=False,
            ) as response:
                status = response.status
                if read is not None and response.content_type == "text/event-stream":
                    async with contextlib.aclosing(_chunks(response)) as chunks:
                        reported, content = await read(chunks)
                    status = reported if status == 200 else status
                else:
                    content = await _whole(response)
                return self._parse(endpoint, status, response.headers, content, started)
        except _TooLarge:
            return _FailedAttempt("engine_bad_answer", f"the answer is larger than {_MAX_BYTES >> 20} MiB")
        except TimeoutError:
            endpoint.limiter.overloaded(started)
            return _FailedAttempt("engine_timeout", f"no answer within {self.settings.timeout:g} seconds")
        except aiohttp.ClientConnectorError as error:
            return _FailedAttempt("engine_unavailable", f"cannot connect: {error.os_error}", whole_server=True)
        except aiohttp.InvalidURL as error:
            raise EngineError(
                f"server.url is {endpoint.url}, expected an address such as http://host:8000: {error}"
            ) from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            reason = self.sanitize(str(error)) if str(error) else type(error).__name__
            return _FailedAttempt("engine_unavailable", f"the connection broke: {reason}")

    def _parse(
        self, endpoint: Endpoint, status: int, headers: Mapping[str, str], content: bytes, started: float
    ) -> _Answer | _FailedAttempt:
        if status == 200:
            try:
                answer = json.loads(content)
            except (ValueError, RecursionError):
                return _FailedAttempt("engine_bad_answer", f"the answer is not JSON: {self.error_text(content)}")
            endpoint.limiter.succeeded(started)
            self.counts.answered += 1
            self._last_answer = time.monotonic()
            return answer, headers
        message = self.error_text(content)
        # OpenAI answers 429 both for overload and for an account without credit.
        if status in _SERVER_STATUSES and "insufficient_quota" not in message:
            if status in (429, 503):
                endpoint.limiter.overloaded(started)
                self._pause(endpoint, headers.get("Retry-After"))
            return _FailedAttempt("engine_unavailable", f"{status} {message}", True, status)
        if status in _RETRY_STATUSES:
            return _FailedAttempt("engine_unavailable", f"{status} {message}", False, status)
        raise self._permanent_error(endpoint.url, status, message, headers.get("Location", ""))

    def _permanent_error(self, url: str, status: int, message: str, location: str) -> Exception:
        """The exception for a status that no further attempt can change."""
        key = self.settings.key_variable or "the key's variable (server.key_variable)"
        advice = {
            401: f"the key is missing: set {key}" if not self._key else f"check the key in {key}",
            402: "the account has no credit left",
            403: f"the key in {key} does not have this permission",
            429: "the account has no credit left",
        }
        if status in advice:
            return EngineError(f"{url} answers {status} {message}; {advice[status]}")
        if 300 <= status < 400:
            return EngineError(f"{url} redirects to {self.sanitize(location)}: set server.url to that address")
        return RequestRejected(status, message)

    def rejected(self, error: RequestRejected, reason: str) -> Failed:
        """The failure of one request that the server rejects as invalid.

        Raises:
            EngineError: many requests were rejected and none was answered, so the others would be rejected too.
        """
        self._rejected += 1
        if self._rejected >= _REJECTED_AT_START and self.counts.answered == self._answered_before:
            advice = "lower passage_tokens or response_tokens" if reason == "engine_too_long" else "change the recipe"
            raise EngineError(f"{self.endpoints.name} rejects every request: {error.status} {error.message}; {advice}")
        return Failed(reason, f"{error.status} {error.message}")

    def _check_outage(self, attempt: _FailedAttempt) -> None:
        silent = time.monotonic() - self._last_answer
        if self._last_answer and silent > self.settings.outage_timeout:
            file = self.endpoints.file
            silence = f"no endpoint of {file} has answered" if file else f"{self.url} has not answered"
            raise EngineError(
                f"{silence} for {silent:.0f} seconds ({attempt.message}"
                f"{self.endpoints.problem}). All answers are kept: run "
                "the same command again when the server is back, or raise server.outage_timeout or server.timeout"
            )

    def _pause(self, endpoint: Endpoint, header: str | None) -> None:
        """Send nothing for as long as Retry-After asks, up to ``outage_timeout`` seconds."""
        if not header:
            return
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            seconds = (
                float(header)
                if header.strip().replace(".", "", 1).isdigit()
                else email.utils.parsedate_to_datetime(header).timestamp() - time.time()
            )
            pause = min(seconds, self.settings.outage_timeout)
            endpoint.paused_until = max(endpoint.paused_until, time.monotonic() + pause)

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

    @property
    def is_down(self) -> bool:
        """The server cannot be reached, or broke the connection. An overloaded one answers 429."""
        return self.reason == "engine_unavailable" and (not self.status or (self.whole_server and self.status != 429))


def unanswered(client: Client, error: RetriesExhausted) -> EngineError:
    """The error of a server that does not answer the requests by which its capabilities are found."""
    return EngineError(
        f"{client.url} did not answer a request of one token: {error}; raise server.timeout, or run the same command "
        "again when the server is less busy"
    )


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


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    # A body that is not compressed has the size of its Content-Length.
    size = None if "Content-Encoding" in response.headers else response.content_length
    if size is not None and size <= _MAX_BYTES:
        return await response.read()
    async with contextlib.aclosing(_chunks(response)) as chunks:
        return b"".join([chunk async for chunk in chunks])
