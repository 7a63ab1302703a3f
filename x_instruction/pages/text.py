"""Text that no one has checked, for HTML: markup is inert, and characters that hide or reorder text are visible."""

from __future__ import annotations

import re
from html import escape as escape_markup

# Controls, format characters, lone surrogates and private use, without tab and line feed. Joiners, soft hyphens and
# zero-width spaces are part of the spelling in many scripts, and the signs after them are visible. Lone surrogates and
# most others have no glyph. pages.js has the same list.
_SPELLING = "\u00ad\u200b-\u200d\u2060\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2"
_HIDDEN = re.compile(
    rf"(?![{_SPELLING}])[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200e\u200f\u202a-\u202e\u2028\u2029"
    r"\u2061-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ue000-\uf8ff\U000e0000-\U000e007f\U000f0000-\U0010ffff]"
)


def escape(text: object) -> str:
    """HTML of a text. Each hidden character is an element of class ``hidden-char`` with its code, such as U+202E."""
    marked = _HIDDEN.sub(lambda match: f"\0{_code(match[0])}\0", str(text))
    parts = marked.split("\0")
    # Odd parts are the codes: no part has a NUL, because NUL is hidden itself.
    return "".join(
        f'<span class="hidden-char">{part}</span>' if number % 2 else escape_markup(part)
        for number, part in enumerate(parts)
    )


def visible(text: object) -> str:
    """Plain text with the code of each hidden character in its place, for titles and names of files."""
    return _HIDDEN.sub(lambda match: f"[{_code(match[0])}]", str(text))


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"
