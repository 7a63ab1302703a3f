"""Heuristic quality filters: each returns the reason to drop a passage, or None.

They are independent of the language, except that words need spaces between them; ``identify`` checks the language. The
thresholds are ``config.recipe.Filters``. To add a filter, write a function and add it to ``FILTERS``, cheapest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from x_instruction.config.corpus import Filters
from x_instruction.corpus import boilerplate, characters, clean, completeness, markup
from x_instruction.corpus.characters import BROKEN, DIGIT, SYMBOL

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Length of the n-grams whose repetitions count: words, or characters in scripts without spaces between words. Gopher
# (arXiv 2112.11446, table A1) limits the characters in repeated 5- to 10-grams to 0.15 to 0.10; here, one n and limit.
NGRAM_WORDS = 5
NGRAM_CHARACTERS = 25
NGRAM_IDEOGRAPHS = 15
_IDEOGRAPHS = frozenset({"Hani", "Hans", "Hant", "Jpan", "Yiii"})
# A line with fewer characters is short (FineWeb, arXiv 2406.17557).
SHORT_LINE = 30
SHORT_LINE_UNSPACED = 15

# Hashtags, mentions, links, emoji, emoticons, drawn-out letters (Thai writes laughter as 555) and punctuation.
_SOCIAL = re.compile(
    r"(?<!\w)[#@][^\W\d_]\w+|https?://|www\.\w|[:;](?: |[-'])?[()](?!\w)|[\U0001f300-\U0001faff\u2600-\u27bf]"
    r"[\U0001f300-\U0001faff\u2600-\u27bf\u200d\ufe0f]*|([^\W\d_])\1{3,}|(?<!\d)5{3,}(?!\d)"
    r"|[!?]{3,}|(?<!\.)\.\.(?!\.)|\.{4,}"
)
# What replaces names and links in published collections of posts, and as how many marks each counts.
_REPLACED = re.compile(r"\[(?:USERNAME|USER|URL)\]|@user\b")
REPLACED = 4
# The factor of a hash of characters. It is odd, so that different characters stay different.
_FACTOR = np.uint32(0x9E3779B1)
# Parts of some kinds of marks, each with the largest number of marks that it can count as.
_MARK_SIGNS = {"#": 1, "@": 1, "://": 1, "www.": 1, "555": 1, "..": 1, "[U": REPLACED, "@user": REPLACED}
_PICTURES = ((0x2600, 0x27BF), (0x1F300, 0x1FAFF))
_FIRST_PICTURE = 0x2600
# A text with none of these, no symbols and no character four times in a row is taken for one without marks.
_SOCIAL_SIGNS = (
    "#",
    "@",
    "[U",
    "://",
    "www.",
    "..",
    "!!",
    "??",
    "!?",
    "?!",
    "555",
    ":)",
    ":(",
    ";)",
    ": )",
    ":-",
    ":'",
)


class Reason(NamedTuple):
    """Why a passage is dropped: a short name, and the measured value."""

    name: str
    detail: str


@dataclass
class View:
    """A passage with the features that several filters need, computed once, when the first of them needs it.

    Args:
        text: normalised text.
        spaced: the script puts spaces between words.
        phrases: boilerplate phrases of the language, in lower case.
        script: ISO 15924 code.
    """

    text: str
    spaced: bool
    phrases: tuple[str, ...]
    script: str = "Latn"

    @cached_property
    def codes(self) -> NDArray[np.uint32]:
        """Code point of each character, (characters,)."""
        return characters.code_points(self.text)

    @cached_property
    def kinds(self) -> bytes:
        """Class of each character."""
        return characters.kinds_of(self.codes).tobytes()

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not empty."""
        return [line for line in self.text.split("\n") if line]


def check(view: View, limits: Filters) -> Reason | None:
    """The first reason to drop a passage, or None."""
    for find_reason in FILTERS.values():
        reason = find_reason(view, limits)
        if reason is not None:
            return reason
    return None


def length(view: View, limits: Filters) -> Reason | None:
    """``too_short``, ``too_long``: number of characters."""
    size = len(view.text)
    if size < limits.min_chars:
        return Reason("too_short", f"{size} characters, at least {limits.min_chars}")
    if size > limits.max_chars:
        return Reason("too_long", f"{size} characters, at most {limits.max_chars}")
    return None


def broken_unicode(view: View, limits: Filters) -> Reason | None:
    """``broken_unicode``: share of replacement, private and unassigned characters, mojibake and orphan marks."""
    count = view.kinds.count(BROKEN) + clean.broken(view.text)
    return _above("broken_unicode", count, len(view.text), limits.max_broken, "broken characters")


def digits(view: View, limits: Filters) -> Reason | None:
    """``too_many_digits``: share of digits of any script among all characters."""
    return _above("too_many_digits", view.kinds.count(DIGIT), len(view.text), limits.max_digits, "digits")


def symbols(view: View, limits: Filters) -> Reason | None:
    """``too_many_symbols``: share of symbols and unusual punctuation among all characters."""
    return _above("too_many_symbols", view.kinds.count(SYMBOL), len(view.text), limits.max_symbols, "symbols")


def markup_left(view: View, limits: Filters) -> Reason | None:
    """``markup``: share of characters in tags, attributes, links and braces."""
    return _above("markup", markup.marks(view.text), len(view.text), limits.max_markup, "characters of markup")


def short_lines(view: View, limits: Filters) -> Reason | None:
    """``short_lines``: share of lines that are too short for a sentence, as in lists and menus."""
    shortest = SHORT_LINE if view.spaced else SHORT_LINE_UNSPACED
    count = sum(len(line) < shortest for line in view.lines)
    return _above("short_lines", count, len(view.lines), limits.max_short_lines, "short lines")


def unfinished_lines(view: View, limits: Filters) -> Reason | None:
    """``unfinished_lines``: share of characters in lines that end no sentence, as in lists of headlines and verse."""
    count = completeness.unfinished(view.text, view.script)
    return _above("unfinished_lines", count, len(view.text), limits.max_unfinished_lines, "characters in such lines")


def social_marks(view: View, limits: Filters) -> Reason | None:
    """``social_marks``: hashtags, mentions, links, emoji and stretched letters, for each character."""
    text = view.text
    if _most_marks(view) <= limits.max_social_marks * len(text):
        return None
    if not (SYMBOL in view.kinds or any(sign in text for sign in _SOCIAL_SIGNS) or _drawn_out(view.codes)):
        return None
    count = sum(1 for _ in _SOCIAL.finditer(text)) + len(_REPLACED.findall(text)) * REPLACED
    return _above("social_marks", count, len(text), limits.max_social_marks, "marks of posts")


def _most_marks(view: View) -> int:
    """An upper bound of the number of marks that the patterns find. Most texts need no more, and it is faster."""
    text = view.text
    places = 0
    for sign, weight in _MARK_SIGNS.items():
        # The search for one character is faster.
        if sign[0] in text:
            places += weight * text.count(sign)
    if "!" in text or "?" in text:
        places += (text.count("!") + text.count("?")) // 3
    if (":" in text or ";" in text) and ("(" in text or ")" in text):
        places += min(text.count(":") + text.count(";"), text.count("(") + text.count(")"))
    pictures = int(np.count_nonzero(view.codes >= _FIRST_PICTURE))
    if pictures:
        pictures = sum(int(np.count_nonzero((view.codes >= first) & (view.codes <= last))) for first, last in _PICTURES)
    return places + pictures + _drawn_out(view.codes)


def _drawn_out(codes: NDArray[np.uint32]) -> int:
    """An upper bound of the number of runs of four or more equal characters."""
    same: NDArray[np.bool_] = codes[1:] == codes[:-1]
    return same.tobytes().count(b"\1\1\1")


def spaced_words(view: View, limits: Filters) -> Reason | None:
    """``spaced_words``: share of spaces in a script that puts none between words, as in text that was tokenized."""
    if view.spaced:
        return None
    return _above("spaced_words", view.text.count(" "), len(view.text), limits.max_spaces, "spaces")


def duplicate_lines(view: View, limits: Filters) -> Reason | None:
    """``duplicate_lines``: share of lines that repeat an earlier line."""
    count = len(view.lines) - len(set(view.lines))
    return _above("duplicate_lines", count, len(view.lines), limits.max_duplicate_lines, "repeated lines")


def boilerplate_lines(view: View, limits: Filters) -> Reason | None:
    """``boilerplate``: share of lines that are menus or short and contain a boilerplate phrase."""
    short = [line for line in view.lines if len(line) <= boilerplate.LONGEST_LINE]
    if len(short) <= limits.max_boilerplate_lines * len(view.lines):
        return None
    lowered = "\n".join(short).lower()
    phrases = [phrase for phrase in view.phrases if phrase in lowered]
    menus = any(sign in lowered and lowered.count(sign) >= boilerplate.MENU_ENTRIES for sign in boilerplate.MENU_SIGNS)
    if not phrases and not menus:
        return None
    count = sum(boilerplate.is_menu(line) or any(phrase in line.lower() for phrase in phrases) for line in short)
    return _above("boilerplate", count, len(view.lines), limits.max_boilerplate_lines, "lines of boilerplate")


def repeated_ngrams(view: View, limits: Filters) -> Reason | None:
    """``repeated_ngrams``: share of word (or character) n-grams that repeat an earlier one."""
    limit = limits.max_repeated_ngrams
    if view.spaced:
        words = view.text.split()
        total = len(words) - NGRAM_WORDS + 1
        # Where an n-gram is repeated, so are its first two words.
        pairs = len(words) - 1 - len(set(pairwise(words)))
        if pairs <= limit * total:
            return None
        different = len(set(zip(*(words[i:] for i in range(NGRAM_WORDS)), strict=False)))
    else:
        text = view.text
        size = NGRAM_IDEOGRAPHS if view.script in _IDEOGRAPHS else NGRAM_CHARACTERS
        total = len(text) - size + 1
        # Where an n-gram is repeated, so are some characters of it.
        if total <= 0 or total - _different(_samples(view.codes, size)) <= limit * total:
            return None
        different = len({text[i : i + size] for i in range(total)})
    return _above("repeated_ngrams", total - different, total, limit, "repeated n-grams")


def _samples(codes: NDArray[np.uint32], size: int) -> NDArray[np.uint32]:
    """A hash of four characters of each n-gram, (characters - size + 1,). Equal n-grams have equal hashes."""
    total = len(codes) - size + 1
    hashes = codes[:total] * _FACTOR
    for place in (size // 3, 2 * size // 3, size - 1):
        hashes += codes[place : place + total]
        hashes *= _FACTOR
    return hashes


def _different(values: NDArray[np.uint32]) -> int:
    values.sort()
    return 1 + int(np.count_nonzero(values[1:] != values[:-1]))


def _above(name: str, count: int, total: int, limit: float, label: str) -> Reason | None:
    if total > 0 and count > limit * total:
        return Reason(name, f"{label}: {count} of {total}, at most {limit:g} of them")
    return None


FILTERS: dict[str, Callable[[View, Filters], Reason | None]] = {
    "length": length,
    "digits": digits,
    "symbols": symbols,
    "markup": markup_left,
    "broken_unicode": broken_unicode,
    "short_lines": short_lines,
    "unfinished_lines": unfinished_lines,
    "social_marks": social_marks,
    "spaced_words": spaced_words,
    "duplicate_lines": duplicate_lines,
    "boilerplate": boilerplate_lines,
    "repeated_ngrams": repeated_ngrams,
}
