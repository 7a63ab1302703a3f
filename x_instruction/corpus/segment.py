"""Split documents into passages that are short enough for a response.

Documents are cut between paragraphs, else between sentences, else between words, else anywhere, but never inside a
grapheme cluster (Unicode Standard Annex 29; a test compares with an implementation of it). Sentence ends are those of
Unicode's ``Sentence_Terminal``, in every script.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from x_instruction.corpus.terminals import SENTENCE_TERMINAL

# Stops that need a space behind them, because they also occur inside numbers, names and addresses.
_SPACED_STOPS = frozenset(".!?…\u2024")
# Stops without a space behind them. Besides the Unicode property: the Tibetan shad and its variants. The Burmese U+104A
# has the property but ends a phrase.
STOPS = SENTENCE_TERMINAL - _SPACED_STOPS - {"\u104a"} | frozenset("\u0f0d\u0f0e\u0f0f\u0f10\u0f11\u0f14")
# Two Ethiopic word spaces are written for a full stop, one is not.
_DOUBLED = "\u1361\u1361"
_ANY_STOP = "".join(sorted(STOPS | _SPACED_STOPS)) + _DOUBLED[0]
# One set of characters at the start, so that the search is fast; ``_is_end`` decides. Most texts have no character
# beyond U+FFFF, and without those the set is a table.
_CLOSING = r"[\"'»”’)\]」』”）]*"
_STOPS = re.compile(rf"[{_ANY_STOP}][{_ANY_STOP}]*{_CLOSING}")
_BASIC_STOP = "".join(stop for stop in _ANY_STOP if stop <= "\uffff")
_BASIC_STOPS = re.compile(rf"[{_BASIC_STOP}][{_BASIC_STOP}]*{_CLOSING}")
# Khmer "។ល។" means "and so on".
_ET_CETERA = "\u179b\u17d4"
# Where a text without sentence ends is cut: before a space or zero-width space, and after a Tibetan tsheg or an
# Ethiopic word space.
_SPACE_SIGNS = " \u200b"
_WORD_SIGNS = "\u0f0b\u1361"
_NEVER_FIRST = STOPS | frozenset(_WORD_SIGNS)
# What is around a cut and belongs to no passage.
_EDGES = " \n\u200b"
# Signs that join the next consonant: those of combining class 9, but not the visible killers of vowels (Tamil, Thai,
# Lao, Myanmar), and the zero-width joiner.
_JOINER_CLASS = 9
_KILLERS = frozenset("\u0bcd\u0e3a\u0eba\u103a")
_SPACING_LETTERS = frozenset("\u0e33\u0eb3")
_LINES = re.compile(r"\n\n*")
_SPACES = re.compile(r"\s+")


def segment(text: str, min_chars: int, max_chars: int) -> list[str]:
    """Passages of one document, in order, each at most ``max_chars`` characters.

    Only white space around a cut is lost. The last cut is made early enough to leave ``min_chars`` for the remainder.
    If that is impossible, the remainder is appended to the last passage if it fits; otherwise it becomes a passage that
    the length filter drops.

    Args:
        text: normalised text.
        min_chars, max_chars: length of a passage in characters.
    """
    passages: list[str] = []
    start, end = 0, len(text)
    while end - start > max_chars:
        # If this is the last cut, leave enough text for one more passage.
        latest = start + max_chars
        if end - latest < min_chars <= end - start - min_chars:
            latest = end - min_chars
        cut = _cut(text, start, start + min_chars, latest)
        passages.append(text[start:cut].strip(_EDGES))
        start = cut
        while start < end and text[start] in _EDGES:
            start += 1
    rest = text[start:].strip(_EDGES)
    if passages and len(rest) < min_chars and len(passages[-1]) + 1 + len(rest) <= max_chars:
        passages[-1] = f"{passages[-1]}\n{rest}" if rest else passages[-1]
    elif rest:
        passages.append(rest)
    return passages


def _cut(text: str, start: int, earliest: int, latest: int) -> int:
    """The best position to cut with ``start < cut <= latest``, at or after ``earliest`` if possible."""
    earliest = min(earliest, latest)
    # The search includes one more character, because a line may end exactly at the limit.
    line = text.rfind("\n", earliest, latest + 1)
    if line > start:
        return line
    sentence = 0
    # Choosing a pattern reads the text, and a long document has many parts.
    for match in _stops(text[earliest:latest]).finditer(text, earliest, latest):
        if _is_end(text, match) and boundary(text, match.end()):
            sentence = match.end()
    if sentence > start:
        return sentence
    for position in range(min(latest, len(text) - 1), max(earliest, start + 1) - 1, -1):
        word = _word_end(text, position)
        if word is not None and word <= latest:
            return word
    cut = latest
    while cut > start + 1 and not boundary(text, cut):
        cut -= 1
    # A grapheme cluster longer than a passage is not real text, so it is cut at the limit.
    return cut if boundary(text, cut) else latest


def _stops(text: str) -> re.Pattern[str]:
    is_basic = text.isascii() or len(text.encode("utf-16-le", "surrogatepass")) == 2 * len(text)
    return _BASIC_STOPS if is_basic else _STOPS


def _is_end(text: str, match: re.Match[str]) -> bool:
    """True if stops end a sentence: those of Latin and similar scripts before a space, all others anywhere."""
    start, end = match.span()
    if STOPS.isdisjoint(match[0]) and _DOUBLED not in match[0]:
        return not _SPACED_STOPS.isdisjoint(match[0]) and text[end : end + 1].isspace()
    # A stop between two digits is a decimal separator.
    is_inside_number = end == start + 1 and text[start - 1 : start].isdigit() and text[end : end + 1].isdigit()
    return not is_inside_number and not text.startswith(_ET_CETERA, end)


def _word_end(text: str, position: int) -> int | None:
    """Where to cut at a sign between words: before a space, after a visible sign; None if a word cannot end here."""
    if text[position] in _SPACE_SIGNS:
        return position if boundary(text, position) and boundary(text, position + 1) else None
    if text[position] in _WORD_SIGNS and text[position + 1 : position + 2] not in _NEVER_FIRST:
        return position + 1 if boundary(text, position + 1) else None
    return None


def boundary(text: str, position: int) -> bool:
    """True if a grapheme cluster ends before ``text[position]``."""
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
    # Characters that precede the one they modify: Arabic number signs, Malayalam dot reph, Kaithi number sign.
    return not (unicodedata.category(before) == "Cf" and before not in "\u200c") and before != "\u0d4e"


def _joined(text: str, position: int) -> bool:
    """True if a virama or joiner among the marks before the position joins the next character."""
    while position > 0:
        position -= 1
        before = text[position]
        if before == "\u200d" or (unicodedata.combining(before) == _JOINER_CLASS and before not in _KILLERS):
            return True
        if unicodedata.category(before)[0] != "M" and not "\U0001f3fb" <= before <= "\U0001f3ff":
            return False
    return False


def _flags_before(text: str, position: int) -> int:
    """Number of consecutive regional indicators before the position. Two of them form a flag."""
    count = 0
    while position > 0 and 0x1F1E6 <= ord(text[position - 1]) <= 0x1F1FF:
        position -= 1
        count += 1
    return count


def _is_jamo(character: str) -> bool:
    return "\u1100" <= character <= "\u11ff" or "\ua960" <= character <= "\ua97c" or "\uac00" <= character <= "\ud7fb"


def sentences(text: str, spaced: bool) -> list[tuple[int, int]]:
    """Start and end of each sentence or line of a text, without the white space around it.

    Scripts without spaces between words, such as Thai, often have no full stops either. If nothing else ends a
    sentence in these, a space does.

    Args:
        text: any text.
        spaced: the script puts spaces between words.
    """
    cuts = ends(text)
    if not any(text[:cut].strip() and text[cut:].strip() for cut in cuts) and not spaced:
        cuts = {match.end() for match in _SPACES.finditer(text)}
    spans = []
    for start, end in pairwise(sorted({0, *cuts, len(text)})):
        piece = text[start:end]
        if piece.strip():
            spans.append((start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
    return spans


def ends(text: str) -> set[int]:
    """Positions after the end of a sentence or line."""
    stops = {match.end() for match in _stops(text).finditer(text) if _is_end(text, match)}
    return stops | {position for match in _LINES.finditer(text) for position in match.span()}
