"""Patience with a server: what is tried again, and how long is waited before."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import parse_ratelimit_headers

from x_instruction.errors import HubError

Log = Callable[[str], None]
Answer = TypeVar("Answer")

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
TRIES = 8
# A server may ask for more than anybody would sit through; whoever comes later finds what was sent still there.
LONGEST = 300.0
FIRST = 0.5
SLOWEST = 20.0


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it: uploads wrap the answer of the server."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, or None where the server did not answer."""
    for one in causes(error):
        if isinstance(one, HfHubHTTPError):
            return int(one.response.status_code)
    return None


def passing(error: BaseException, also: frozenset[int] = frozenset()) -> bool:
    """Whether the same call may succeed later."""
    status = status_of(error)
    if status is not None:
        return status in BUSY | also
    # hf_xet says by ConnectionError and RuntimeError that a server is away; a full disk is an OSError with a number.
    return any(isinstance(one, httpx2.TransportError | ConnectionError | TimeoutError) for one in causes(error))


def pause(error: BaseException, attempt: int) -> float:
    """Seconds to wait: what the server asks for, or more each time; by chance, so that many do not come at once.

    Raises:
        HubError: the server asks for more than ``LONGEST``.
    """
    asked = _asked(error)
    if asked is None:
        return random.uniform(0.2, 1.0) * min(SLOWEST, FIRST * 2.0**attempt)
    if asked > LONGEST:
        raise HubError(
            f"the Hub asks to wait {asked:.0f} seconds before the next request: run the same command again then, "
            "what was uploaded is kept"
        ) from error
    return asked + random.uniform(0.0, 1.0)


def _asked(error: BaseException) -> float | None:
    for one in causes(error):
        if isinstance(one, HfHubHTTPError):
            headers = one.response.headers
            after = headers.get("retry-after", "").strip()
            if after.isdigit():
                return float(after)
            limit = parse_ratelimit_headers(headers)
            return float(limit.reset_in_seconds) if limit is not None and not limit.remaining else None
    return None


def with_retries(work: Callable[[], Answer], told: Log) -> Answer:
    """What a call gives, tried again while the server is busy or away.

    Args:
        work: the call; it must do no harm when it is done twice.
        told: is told why there is a wait.
    """
    for attempt in range(TRIES):
        try:
            return work()
        except (HfHubHTTPError, httpx2.TransportError, OSError, RuntimeError) as error:
            if not passing(error) or attempt == TRIES - 1:
                raise
            wait_for(error, attempt, told)
    raise AssertionError("the last attempt returns or raises")


def wait_for(error: BaseException, attempt: int, told: Log) -> None:
    """Wait before the next attempt, and say so."""
    seconds = pause(error, attempt)
    told(f"{reason(error)}: trying again in {seconds:.1f} s")
    time.sleep(seconds)


def reason(error: BaseException) -> str:
    """What a server answered, or that it did not; never its address, which may be signed."""
    status = status_of(error)
    if status is None:
        return f"no answer ({type(error).__name__})"
    said = next(one.server_message for one in causes(error) if isinstance(one, HfHubHTTPError))
    return f"the Hub answered {status}" + (f" ({' '.join(str(said).split())[:200]})" if said else "")
