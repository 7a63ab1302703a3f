"""What a client may send: sizes, and how often."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from x_instruction.local_hub.refused import Refused

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server.

    Args:
        file_bytes: of one file.
        regular_bytes: of one file that is not a large one.
        json_bytes: of a request that is no file.
        part_bytes: of one part of a file that is uploaded in parts; larger files are.
        page: entries of a listing in one answer.
        commits_per_hour: of one account; 0 is no bound.
        requests_per_5_minutes: of one account; 0 is no bound.
        running_jobs: how many jobs run at a time; the others wait.
        log_bytes: of what a job writes, how much is kept.
    """

    file_bytes: int = 50 * 1024 * MIB
    regular_bytes: int = 10 * MIB
    json_bytes: int = 16 * MIB
    part_bytes: int = 128 * MIB
    page: int = 1000
    commits_per_hour: int = 0
    requests_per_5_minutes: int = 0
    running_jobs: int = max(2, os.cpu_count() or 1)
    log_bytes: int = 64 * MIB


class Quota:
    """So many of something in so many seconds, for each account.

    Args:
        what: the Hub's name for it in the headers.
        most: how many; 0 is no bound.
        seconds: length of the window.
        clock: seconds that only grow.
    """

    def __init__(self, what: str, most: int, seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, who: str) -> dict[str, str]:
        """Take one; gives the headers that tell what is left.

        Raises:
            Refused: 429, none is left.
        """
        if not self._most:
            return {}
        with self._lock:
            now = self._clock()
            begun, taken = self._windows.get(who, (now, 0))
            if now - begun >= self._seconds:
                begun, taken = now, 0
            if len(self._windows) > 10_000:
                self._windows = {k: v for k, v in self._windows.items() if now - v[0] < self._seconds}
            left = self._most - taken - 1
            self._windows[who] = (begun, taken + (left >= 0))
        wait = max(1, int(begun + self._seconds - now + 0.999))
        headers = {
            "RateLimit": f'"{self._what}";r={max(left, 0)};t={wait}',
            "RateLimit-Policy": f'"fixed window";"{self._what}";q={self._most};w={self._seconds}',
        }
        if left < 0:
            message = f"You have reached the limit of {self._most} {self._what} in {self._seconds} seconds"
            raise Refused(429, message, headers=headers | {"Retry-After": str(wait)})
        return headers
