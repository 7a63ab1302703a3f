"""The servers of one model: the address of a recipe, or those in a file that is read again while requests are sent.

The file has one address per line; ``#`` begins a comment. A server whose address is added gets requests within seconds,
and one whose address is removed gets no new ones. A file that cannot be used any more changes nothing, because it may
be in the middle of being written.

A request goes to the endpoint with the smallest load for its limit. An endpoint that fails is left alone for a while,
longer each time, and then tried with one request at a time until it answers.
"""

from __future__ import annotations

import random
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from x_instruction.config.model import Server, checked_address
from x_instruction.engines.remote.concurrency import ConcurrencyLimiter
from x_instruction.errors import EngineError
from x_instruction.storage.atomic import regular_text

# Seconds between two looks at the file.
READ_EVERY = 2.0
# Pauses of an endpoint that fails, in seconds: doubled from the first to the last, with up to 50 % random jitter.
FIRST_WAIT, LAST_WAIT = 0.25, 30.0


@dataclass(slots=True, eq=False)
class Endpoint:
    """A server.

    Args:
        url: its address, without a slash at the end.
        limiter: limits the requests in flight.
        checked: whether it is known to serve the model.
        in_flight: requests in flight.
        failures: times that it failed in a row.
        paused_until: no request is sent before this time (``time.monotonic``).
        proxy: the proxy of the environment for it.
    """

    url: str
    limiter: ConcurrencyLimiter
    checked: bool = False
    in_flight: int = 0
    failures: int = 0
    paused_until: float = 0.0
    proxy: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.proxy = _proxy(self.url)

    @property
    def limit(self) -> int:
        """Requests that may be in flight: one until it is known to answer."""
        return self.limiter.limit if self.checked and not self.failures else 1

    @property
    def is_tried(self) -> bool:
        """Whether one request tells whether it answers, and the others wait for that."""
        return bool(self.in_flight) and (not self.checked or bool(self.failures))

    @property
    def pause(self) -> float:
        """Seconds until it may get a request."""
        return max(0.0, self.paused_until - time.monotonic())

    def failed(self) -> None:
        """Leave it alone for a while. Requests that fail together count once."""
        if self.pause:
            return
        wait = min(LAST_WAIT, FIRST_WAIT * 2 ** min(self.failures, 16))
        self.failures += 1
        self.paused_until = max(self.paused_until, time.monotonic() + wait * random.uniform(0.5, 1.0))


class Endpoints:
    """The servers of one model.

    Args:
        settings: the address, or the file of addresses.

    Raises:
        EngineError: there is no address, or the file cannot be used.
    """

    def __init__(self, settings: Server) -> None:
        self.file = Path(settings.endpoints_file).expanduser() if settings.endpoints_file else None
        if not settings.url and self.file is None:
            raise EngineError(
                "server.url is not set: add the server's address, such as "
                '--set generate.model.server.url="http://localhost:8000/v1"'
            )
        self.ceiling = settings.concurrency
        self.problem = ""
        self._known: dict[str, Endpoint] = {}
        self.all: list[Endpoint] = []
        self._use([settings.url.rstrip("/")] if self.file is None else read(self.file))
        # The endpoint whose capabilities are those of all.
        self.first = self.all[0]
        self._read_at = time.monotonic()

    @property
    def several(self) -> bool:
        """Whether there may be more than one."""
        return self.file is not None

    @property
    def name(self) -> str:
        """The address or the file, for messages."""
        return self.first.url if self.file is None else f"every endpoint of {self.file}"

    @property
    def limit(self) -> int:
        """Requests that may be in flight over all endpoints."""
        return sum(endpoint.limit for endpoint in self.all)

    def lower_ceiling(self, most: int) -> None:
        """Limit the requests in flight of each endpoint, from now on."""
        self.ceiling = min(self.ceiling, most)
        for endpoint in self._known.values():
            endpoint.limiter = ConcurrencyLimiter(self.ceiling)

    def pick(self) -> Endpoint:
        """The endpoint for the next request. If all are paused, the one whose pause ends first."""
        if self.file is not None and time.monotonic() - self._read_at > READ_EVERY:
            self._read_at = time.monotonic()
            try:
                self._use(read(self.file))
                self.problem = ""
            except EngineError as error:
                self.problem = f"; {error}"
        if len(self.all) == 1:
            return self.all[0]
        return min(
            self.all, key=lambda endpoint: (endpoint.pause, endpoint.is_tried, endpoint.in_flight / endpoint.limit)
        )

    def _use(self, urls: list[str]) -> None:
        for url in urls:
            if url not in self._known:
                self._known[url] = Endpoint(url, ConcurrencyLimiter(self.ceiling))
        # An endpoint that comes back under its address may be another server.
        for endpoint in self._known.keys() - set(urls):
            del self._known[endpoint]
        self.all = [self._known[url] for url in urls]


def read(file: Path) -> list[str]:
    """The addresses in a file, each once, in order.

    Raises:
        EngineError: the file cannot be read, has no address, or a line is none.
    """
    example = "expected one address per line, such as http://localhost:8000/v1"
    try:
        lines = regular_text(file).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise EngineError(f"server.endpoints_file is {file}, which cannot be read ({reason}): {example}") from None
    urls: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        address = line.split("#", 1)[0].strip()
        if not address:
            continue
        try:
            urls[checked_address(address).rstrip("/")] = None
        except ValueError as error:
            raise EngineError(f"{file}, line {number}, {error}") from None
    if not urls:
        raise EngineError(f"server.endpoints_file is {file}, which has no address: {example}")
    return list(urls)


def _proxy(url: str) -> str | None:
    """The proxy of the environment for this address; none for addresses of this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
