"""Text that nobody has checked, made safe to show: it comes from corpora, models and recipes."""

from __future__ import annotations

import unicodedata

SHOWN_CHARS = 120
# Joiners are letters' companions in Persian and Indic scripts; every other format character is dropped.
JOINERS = "\u200c\u200d"
MARKDOWN = frozenset("\\`*_{}[]()<>#+!|&\"'~$:@")


class Ours(str):
    """Text that this project wrote, as names of columns: it is shown without being escaped."""


def escape(value: object, chars: int = SHOWN_CHARS) -> object:
    """Text that Markdown, HTML and a table cell show as it is and never obey; other values pass.

    Controls, line breaks and text-direction overrides become spaces, long text is cut, and what Markdown or HTML could
    read as a mark becomes a character reference (CommonMark 0.31, section 2.5: a reference is never structure).
    """
    if not isinstance(value, str) or isinstance(value, Ours):
        return value
    text = plain(value, chars)
    marked = "".join(f"&#{ord(c)};" if c in MARKDOWN else c for c in text)
    return marked.replace("www.", "www&#46;")


def sample(value: str, chars: int) -> Ours:
    """Text of a row, escaped; isolated, so that writing from right to left turns nothing around it."""
    return Ours(f"\u2068{escape(value, chars)}\u2069")


def plain(value: str, chars: int = SHOWN_CHARS) -> str:
    """One line of bounded length, without controls or format characters."""
    text = "".join(c if c in JOINERS or unicodedata.category(c)[0] not in "CZ" else " " for c in value)
    text = " ".join(text.split())
    return text if len(text) <= chars else f"{text[:chars]}…"


def model(name: str) -> str:
    """A model's name, and its adapter's after a plus, without the folders of the machine that they were on."""
    if "+" in name:
        return "+".join(map(model, name.split("+")))
    kind, colon, rest = name.rpartition(":")
    # A Hub id has one slash and no leading one; what looks like a path is cut to its last part.
    is_path = rest.startswith(("/", ".", "~")) or rest.count("/") > 1 or "\\" in rest
    return f"{kind}{colon}{rest.replace(chr(92), '/').rstrip('/').rpartition('/')[2]}" if is_path else name
