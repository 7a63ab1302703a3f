"""Trim passages so that they begin and end where a thought does.

A passage ends with the mark that ends a sentence in its script, or with a list. What follows the last such mark, such
as a heading or half a sentence, is cut off. A passage does not begin with a lower-case letter, a comma or another mark
that ends or joins something, or in the middle of a sentence that the segmenter had to cut; what comes before the next
sentence is cut off. A heading at the beginning stays.

A conjunction at the beginning is no sign: in many languages, good sentences begin with one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from x_instruction.corpus.segment import STOPS, ends

# Scripts in which nothing marks the end of a sentence, so that a line or phrase must do.
UNMARKED = frozenset({"Thai", "Laoo"})
# Marks that end a sentence, and those that do so in one script only.
_TERMINALS = STOPS | frozenset(".!?…")
_ALSO = {"Armn": ":", "Ethi": "፡", "Grek": ";"}
_CLOSING = frozenset("\"'»›”’“‘)]}」』）】〉》＂﴾")
# Marks that cannot begin a passage. Quotation marks can: what closes a quotation in one language opens it in another.
_JOINING = frozenset(",;:!?)]}%،؛、，；：）」』】》〉") | (_TERMINALS - frozenset("…།༎༏༐༑༔"))
_COMMAS = frozenset(",;:،؛、，；：")
# Scripts whose letters Unicode calls lower case although sentences begin with them.
_CASELESS = ("GEORGIAN",)
_ITEM = re.compile(r"(?:[-–—*•·▪●◦‣]|\(?\w{1,3}[.)])\s")
# Characters that are searched first for the beginning of a sentence.
_NEAR = 400
# Fewer lines are no list. Lines as long as the longest are wrapped, if they are longer than those of verse; then a line
# break ends nothing.
_LIST_LINES = 4
_WRAPPED_WIDTH = 50
_WRAPPED_LENGTH, _WRAPPED_SHARE, _WRAPPED_LINES = 0.75, 0.7, 4


def whole(text: str, passages: list[str], script: str) -> list[str]:
    """Each passage of a text trimmed to whole sentences; an empty one if it has none.

    Args:
        text: normalised text of a document.
        passages: its segments, in order.
        script: ISO 15924 code.
    """
    position, results = 0, []
    for passage in passages:
        start = text.find(passage, position)
        before = text[position:start] if start > 0 else "\n"
        is_cut = start > 0 and "\n" not in before and not ended(text[max(0, start - 40) : start].rstrip(), script)
        is_cut = is_cut and script not in UNMARKED
        position = start + len(passage) if start >= 0 else position
        results.append(_without_rest(_without_broken_start(passage, is_cut), script))
    return results


def ended(line: str, script: str) -> bool:
    """True if a line ends with the end of a sentence."""
    end = len(line)
    while end and line[end - 1] in _CLOSING:
        end -= 1
    if not end:
        return False
    return line[end - 1] in _TERMINALS or line[end - 1] in _ALSO.get(script, "")


def unfinished(text: str, script: str) -> int:
    """Number of characters in lines that end no sentence, as in lists of headlines, menus and verse.

    Lines that go on in the next one do not count: those that end with a comma or are followed by a lower-case letter,
    and all if they are wrapped at the same length.
    """
    lines = [line for line in text.split("\n") if line]
    if script in UNMARKED or len(lines) < _LIST_LINES:
        return 0
    sizes = [
        len(line)
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if not ended(line, script) and line[-1] not in _COMMAS and not _is_lower(following)
    ]
    if not sizes:
        return 0
    width = max(map(len, lines))
    wide = sum(size >= _WRAPPED_LENGTH * width for size in sizes)
    is_wrapped = width >= _WRAPPED_WIDTH and len(sizes) >= _WRAPPED_LINES and wide >= _WRAPPED_SHARE * len(sizes)
    return 0 if is_wrapped else sum(sizes)


def _without_broken_start(text: str, is_cut: bool) -> str:
    """The text from the first place where a sentence begins."""
    if not is_cut and not _is_broken(text):
        return text
    # The next sentence mostly begins soon.
    for size in (_NEAR, len(text)):
        for end in sorted(ends(text[:size])):
            rest = text[end:].lstrip()
            if end < size and rest and not _is_broken(rest):
                return rest
    return ""


def _is_broken(text: str) -> bool:
    first, second = text[:1], text[1:2]
    if first in _JOINING:
        # ".NET" and ".txt" are words.
        return not (first == "." and second.isalnum())
    return unicodedata.category(first)[0] == "M" or _is_lower(text)


def _is_lower(text: str) -> bool:
    """True if a text begins with a lower-case word. Words such as iPhone, e.g. names of programs, are none."""
    if not text[:1].islower() or unicodedata.name(text[0], "").startswith(_CASELESS):
        return False
    word = text[:40].split(maxsplit=1)[0].rstrip(",;:.!?")
    return word.islower() and not any(c.isdigit() or c in "_./@\\" for c in word) and not _ITEM.match(text)


def _without_rest(text: str, script: str) -> str:
    """The text to the end of its last sentence or list."""
    if script in UNMARKED:
        return text
    lines = text.split("\n")
    while lines:
        line = lines[-1]
        if not any(map(str.isalnum, line)):
            del lines[-1]
            continue
        if ended(line, script) or (_ITEM.match(line) and any(map(_ITEM.match, lines[-3:-1]))):
            break
        if cut := max(_sentence_ends(line, script), default=0):
            lines[-1] = line[:cut]
            break
        del lines[-1]
    return "\n".join(lines).rstrip()


def _sentence_ends(line: str, script: str) -> Iterator[int]:
    return (end for end in ends(line) if 0 < end < len(line) and ended(line[:end].rstrip(), script))
