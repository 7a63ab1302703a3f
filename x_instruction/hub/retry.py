"""Retries: which errors are temporary, and how long to wait before the next attempt."""

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
# Another publisher committed first, or the repository is busy with one.
MOVED = frozenset({409, 412})
TRIES = 8
# Seconds. A server may ask for a wait that no user sits through; uploaded files are still there when they come back.
MAX_REQUESTED_WAIT = 300.0
FIRST_WAIT = 0.5
MAX_WAIT = 20.0


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and the errors that caused it: uploads wrap the server's answer."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, or None if the server did not answer."""
    for cause in causes(error):
        if isinstance(cause, HfHubHTTPError):
            return int(cause.response.status_code)
    return None


def is_temporary(error: BaseException, also: frozenset[int] = frozenset()) -> bool:
    """True if the same call may succeed later.

    Args:
        error: The error.
        also: Further statuses that count as temporary.
    """
    status = status_of(error)
    if status is not None:
        return status in BUSY | also
    # hf_xet reports an unreachable server as ConnectionError or RuntimeError; a full disk is an OSError with an errno.
    return any(isinstance(cause, httpx2.TransportError | ConnectionError | TimeoutError) for cause in causes(error))


def wait_seconds(error: BaseException, attempt: int) -> float:
    """Seconds to wait: as the server asks, else exponential backoff. Both have jitter, so that clients spread out.

    Raises:
        HubError: The server asks for more than ``MAX_REQUESTED_WAIT``.
    """
    requested = _requested_wait(error)
    if requested is None:
        return random.uniform(0.2, 1.0) * min(MAX_WAIT, FIRST_WAIT * 2.0**attempt)
    if requested > MAX_REQUESTED_WAIT:
        raise HubError(
            f"the Hub asks to wait {requested:.0f} seconds before the next request: rerun the same command after that, "
            "uploaded files are kept"
        ) from error
    return requested + random.uniform(0.0, 1.0)


def _requested_wait(error: BaseException) -> float | None:
    for cause in causes(error):
        if isinstance(cause, HfHubHTTPError):
            headers = cause.response.headers
            retry_after = headers.get("retry-after", "").strip()
            if retry_after.isdigit():
                return float(retry_after)
            limit = parse_ratelimit_headers(headers)
            return float(limit.reset_in_seconds) if limit is not None and not limit.remaining else None
    return None


def with_retries(call: Callable[[], Answer], log: Log) -> Answer:
    """Run a call, and run it again while the server is busy or unreachable.

    Args:
        call: Must be safe to run twice.
        log: Receives a line that says why there is a wait.
    """
    for attempt in range(TRIES):
        try:
            return call()
        except (HfHubHTTPError, httpx2.TransportError, OSError, RuntimeError) as error:
            if not is_temporary(error) or attempt == TRIES - 1:
                raise
            wait_for(error, attempt, log)
    raise AssertionError("the last attempt returns or raises")


def wait_for(error: BaseException, attempt: int, log: Log) -> None:
    """Wait before the next attempt, and log it."""
    seconds = wait_seconds(error, attempt)
    log(f"{reason(error)}: trying again in {seconds:.1f} s")
    time.sleep(seconds)


def reason(error: BaseException) -> str:
    """The server's answer in words, or that there was none. Never its address, which may be signed."""
    status = status_of(error)
    if status is None:
        return f"no answer ({type(error).__name__})"
    message = next(cause.server_message for cause in causes(error) if isinstance(cause, HfHubHTTPError))
    return f"the Hub answered {status}" + (f" ({' '.join(str(message).split())[:200]})" if message else "")
