"""Text for people: durations and tables."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A duration in its two largest units, such as ``2h05m``, ``3m20s`` or ``12s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
