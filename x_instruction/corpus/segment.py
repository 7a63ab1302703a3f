"""Documents into passages of response length.

Cuts fall between paragraphs, else between sentences, else at a space, else anywhere, and never inside a grapheme
cluster (Unicode Standard Annex 29, tested against an implementation of it).
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

# An end of sentence: Latin and Arabic stops, danda, Myanmar, Ethiopic, Khmer and full-width stops, closing quotes.
_SENTENCE_END = re.compile(r"[.!?…؟۔։।॥။៕።]+[\"'»”’)\]]*(?=\s)|[。！？]+[」』”’）]*")
_CONSONANT_JOINERS = frozenset("\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d\u200d")
_SPACING_LETTERS = frozenset("\u0e33\u0eb3")
_LINES = re.compile(r"\n+")
_SPACES = re.compile(r"\s+")


def segment(text: str, min_chars: int, max_chars: int) -> list[str]:
    """Passages of one document, in order, each at most ``max_chars`` characters.

    Only the space around a cut is lost. A remainder shorter than ``min_chars`` is avoided by cutting earlier; where
    that is not possible it joins the passage before if it fits, and else comes last, for the length filter to drop.

    Args:
        text: normalised text.
        min_chars, max_chars: length of a passage in characters.
    """
    found: list[str] = []
    start, end = 0, len(text)
    while end - start > max_chars:
        # Leave enough for one more passage when this is the last cut.
        latest = start + max_chars
        if end - latest < min_chars <= end - start - min_chars:
            latest = end - min_chars
        cut = _cut(text, start, start + min_chars, latest)
        found.append(text[start:cut].strip())
        start = cut
        while start < end and text[start].isspace():
            start += 1
    rest = text[start:].strip()
    if found and len(rest) < min_chars and len(found[-1]) + 1 + len(rest) <= max_chars:
        found[-1] = f"{found[-1]}\n{rest}" if rest else found[-1]
    elif rest:
        found.append(rest)
    return found


def _cut(text: str, start: int, earliest: int, latest: int) -> int:
    """Where to cut, in ``start < cut <= latest``, at or after ``earliest`` where there is a place."""
    earliest = min(earliest, latest)
    # One more character is looked at, because a line may end exactly at the limit.
    line = text.rfind("\n", earliest, latest + 1)
    if line > start:
        return line
    sentence = 0
    for found in _SENTENCE_END.finditer(text, earliest, min(latest + 1, len(text))):
        if found.end() <= latest and boundary(text, found.end()):
            sentence = found.end()
    if sentence > start:
        return sentence
    space = text.rfind(" ", earliest, latest + 1)
    while space > start and not (boundary(text, space) and boundary(text, space + 1)):
        space = text.rfind(" ", earliest, space)
    if space > start:
        return space
    cut = latest
    while cut > start + 1 and not boundary(text, cut):
        cut -= 1
    # A cluster longer than a passage is no writing; it is cut where the limit falls.
    return cut if boundary(text, cut) else latest


def boundary(text: str, position: int) -> bool:
    """Whether a grapheme cluster ends before ``text[position]``."""
    if position <= 0 or position >= len(text):
        return True
    before, after = text[position - 1], text[position]
    if before < "\u0300" and after < "\u0300":
        return True
    if before == "\n" or after == "\n":
        return True
    if unicodedata.category(after) in ("Mn", "Mc", "Me") or after in _SPACING_LETTERS or after in "\u200c\u200d":
        return False
    if 0x1F3FB <= ord(after) <= 0x1F3FF or 0xFF9E <= ord(after) <= 0xFF9F or _joined(text, position):
        return False
    if 0x1F1E6 <= ord(before) <= 0x1F1FF and 0x1F1E6 <= ord(after) <= 0x1F1FF:
        return _flags_before(text, position) % 2 == 0
    if _is_jamo(before) and _is_jamo(after):
        return False
    # Signs that go before what they belong to: Arabic number signs, Malayalam dot reph, Kaithi number sign.
    return not (unicodedata.category(before) == "Cf" and before not in "\u200c") and before != "\u0d4e"


def _joined(text: str, position: int) -> bool:
    """Whether a virama or joiner among the marks before the position binds what follows."""
    while position > 0:
        position -= 1
        if text[position] in _CONSONANT_JOINERS:
            return True
        if unicodedata.category(text[position])[0] != "M" and not "\U0001f3fb" <= text[position] <= "\U0001f3ff":
            return False
    return False


def _flags_before(text: str, position: int) -> int:
    """Regional indicators in a row before the position: two make a flag."""
    count = 0
    while position > 0 and 0x1F1E6 <= ord(text[position - 1]) <= 0x1F1FF:
        position -= 1
        count += 1
    return count


def _is_jamo(character: str) -> bool:
    return "\u1100" <= character <= "\u11ff" or "\ua960" <= character <= "\ua97c" or "\uac00" <= character <= "\ud7fb"


def sentences(text: str, spaced: bool) -> list[tuple[int, int]]:
    """Where each sentence or line of a text begins and ends, the space around it left out.

    A script without spaces between words often has no stops either (Thai): there a space ends a sentence when nothing
    else does.

    Args:
        text: any text.
        spaced: words of the text are divided by spaces.
    """
    cuts = ends(text)
    if not any(text[:cut].strip() and text[cut:].strip() for cut in cuts) and not spaced:
        cuts = {found.end() for found in _SPACES.finditer(text)}
    spans = []
    for start, end in pairwise(sorted({0, *cuts, len(text)})):
        piece = text[start:end]
        if piece.strip():
            spans.append((start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
    return spans


def ends(text: str) -> set[int]:
    """Positions behind the end of a sentence or of a line."""
    stops = {found.end() for found in _SENTENCE_END.finditer(text)}
    return stops | {place for found in _LINES.finditer(text) for place in found.span()}
