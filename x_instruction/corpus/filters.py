"""Heuristic quality filters: each returns the reason to drop a passage, or None.

They are independent of the language, except that words need spaces between them; ``identify`` checks the language. The
thresholds are ``config.recipe.Filters``. To add a filter, write a function and add it to ``FILTERS``, cheapest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
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
# A text with none of these, no symbols and no character four times in a row has no marks.
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


@dataclass(slots=True)
class View:
    """A passage with the features that several filters need, computed once.

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
    kinds: NDArray[np.uint8] = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.kinds = characters.kinds(self.text)
        self.counts = np.bincount(self.kinds, minlength=256)
        self.lines = [line for line in self.text.split("\n") if line]


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
    count = int(view.counts[BROKEN]) + clean.broken(view.text)
    return _above("broken_unicode", count, len(view.text), limits.max_broken, "broken characters")


def digits(view: View, limits: Filters) -> Reason | None:
    """``too_many_digits``: share of digits of any script among all characters."""
    return _above("too_many_digits", int(view.counts[DIGIT]), len(view.text), limits.max_digits, "digits")


def symbols(view: View, limits: Filters) -> Reason | None:
    """``too_many_symbols``: share of symbols and unusual punctuation among all characters."""
    return _above("too_many_symbols", int(view.counts[SYMBOL]), len(view.text), limits.max_symbols, "symbols")


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
    if not (view.counts[SYMBOL] or any(sign in text for sign in _SOCIAL_SIGNS) or _is_drawn_out(text)):
        return None
    count = sum(1 for _ in _SOCIAL.finditer(text)) + len(_REPLACED.findall(text)) * REPLACED
    return _above("social_marks", count, len(text), limits.max_social_marks, "marks of posts")


def _is_drawn_out(text: str) -> bool:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    same = codes[1:] == codes[:-1]
    return bool((same[:-2] & same[1:-1] & same[2:]).any())


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
    if not short:
        return None
    lowered = "\n".join(short).lower()
    phrases = [phrase for phrase in view.phrases if phrase in lowered]
    menus = any(lowered.count(sign) >= boilerplate.MENU_ENTRIES for sign in boilerplate.MENU_SIGNS)
    if not phrases and not menus:
        return None
    count = sum(boilerplate.is_menu(line) or any(phrase in line.lower() for phrase in phrases) for line in short)
    return _above("boilerplate", count, len(view.lines), limits.max_boilerplate_lines, "lines of boilerplate")


def repeated_ngrams(view: View, limits: Filters) -> Reason | None:
    """``repeated_ngrams``: share of word (or character) n-grams that repeat an earlier one."""
    if view.spaced:
        words = view.text.split()
        total = len(words) - NGRAM_WORDS + 1
        different = len(set(zip(*(words[i:] for i in range(NGRAM_WORDS)), strict=False)))
    else:
        text = view.text
        size = NGRAM_IDEOGRAPHS if view.script in _IDEOGRAPHS else NGRAM_CHARACTERS
        total = len(text) - size + 1
        different = len({text[i : i + size] for i in range(max(0, total))})
    return _above("repeated_ngrams", total - different, total, limits.max_repeated_ngrams, "repeated n-grams")


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
