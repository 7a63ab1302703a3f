"""Text that no one has checked, for a terminal."""

from __future__ import annotations

import re

# Controls but line breaks, lone surrogates, and characters that break lines or turn the direction of what follows.
# Joiners stay, which Persian and Indic scripts need.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str, most: int | None = None) -> str:
    """Text that cannot move the cursor, colour the terminal or turn its direction: such characters are escaped.

    Args:
        text: any text. Its line breaks stay.
        most: characters at most; None for all.
    """
    cut = text if most is None or len(text) <= most else f"{text[:most]}…"
    return _UNSAFE.sub(_escaped, cut.replace("\r\n", "\n").replace("\t", "    "))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
