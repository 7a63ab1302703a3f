"""Filters on the form of a passage: each looks at one thing and gives a reason, or None.

They ask nothing of the language but whether it puts spaces between words; the language itself is ``identify``'s.
Thresholds are ``recipe.Filters``. To add one: a function and a line in ``FILTERS``, cheapest first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from x_instruction.config.recipe import Filters
from x_instruction.corpus import boilerplate, characters, clean
from x_instruction.corpus.characters import BROKEN, DIGIT, PUNCTUATION, SYMBOL

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Words in a repeated run, and characters in one where words have no spaces between them. Gopher (arXiv 2112.11446,
# table A1) bounds the characters in duplicate 5- to 10-grams by 0.15 to 0.10; one length and one bound here.
NGRAM_WORDS = 5
NGRAM_CHARACTERS = 15
# A line below this many characters is short (FineWeb, arXiv 2406.17557); the share of such lines is bounded.
SHORT_LINE = 30
SHORT_LINE_UNSPACED = 15
# Signs of ordinary prose in any script; what else is a symbol or a rarer mark counts as one.
ORDINARY = ".,;:!?'\"()-/<>‐–—‘’“”«»„…%।॥،؛؟۔٪、。！？，：；「」『』（）・"


class Reason(NamedTuple):
    """Why a passage is let go: a short name and what was seen."""

    name: str
    detail: str


@dataclass(slots=True)
class View:
    """A passage as the filters see it; what several of them need is worked out once.

    Args:
        text: normalised text.
        spaced: whether the script puts spaces between words.
        phrases: boilerplate of the language, lower case.
    """

    text: str
    spaced: bool
    phrases: tuple[str, ...]
    kinds: NDArray[np.uint8] = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.kinds = characters.kinds(self.text)
        self.counts = np.bincount(self.kinds, minlength=256)
        self.lines = [line for line in self.text.split("\n") if line]


def check(view: View, limits: Filters) -> Reason | None:
    """The first reason to let a passage go, or None."""
    for look in FILTERS.values():
        reason = look(view, limits)
        if reason is not None:
            return reason
    return None


def length(view: View, limits: Filters) -> Reason | None:
    """``too_short``, ``too_long``: characters."""
    size = len(view.text)
    if size < limits.min_chars:
        return Reason("too_short", f"{size} characters, at least {limits.min_chars}")
    if size > limits.max_chars:
        return Reason("too_long", f"{size} characters, at most {limits.max_chars}")
    return None


def broken_unicode(view: View, limits: Filters) -> Reason | None:
    """``broken_unicode``: replacement, private and unassigned characters, mojibake, orphan marks."""
    count = int(view.counts[BROKEN]) + clean.broken(view.text)
    return _above("broken_unicode", count, len(view.text), limits.max_broken, "broken characters")


def digits(view: View, limits: Filters) -> Reason | None:
    """``too_many_digits``: numbers of any script among all characters."""
    return _above("too_many_digits", int(view.counts[DIGIT]), len(view.text), limits.max_digits, "digits")


def symbols(view: View, limits: Filters) -> Reason | None:
    """``too_many_symbols``: symbols and rarer marks among all characters."""
    count = int(view.counts[SYMBOL] + view.counts[PUNCTUATION])
    if count > limits.max_symbols * len(view.text):
        # Only now are the ordinary ones told apart: few texts come here.
        count -= sum(map(view.text.count, ORDINARY))
    return _above("too_many_symbols", count, len(view.text), limits.max_symbols, "symbols")


def short_lines(view: View, limits: Filters) -> Reason | None:
    """``short_lines``: lines that are no sentence, as in lists and menus, among all lines."""
    shortest = SHORT_LINE if view.spaced else SHORT_LINE_UNSPACED
    count = sum(len(line) < shortest for line in view.lines)
    return _above("short_lines", count, len(view.lines), limits.max_short_lines, "short lines")


def duplicate_lines(view: View, limits: Filters) -> Reason | None:
    """``duplicate_lines``: lines that were there before, among all lines."""
    count = len(view.lines) - len(set(view.lines))
    return _above("duplicate_lines", count, len(view.lines), limits.max_duplicate_lines, "repeated lines")


def boilerplate_lines(view: View, limits: Filters) -> Reason | None:
    """``boilerplate``: short lines with a phrase of web furniture, and menus, among all lines."""
    short = [line for line in view.lines if len(line) <= boilerplate.LONGEST_LINE]
    if not short:
        return None
    lowered = "\n".join(short).lower()
    found = [phrase for phrase in view.phrases if phrase in lowered]
    menus = any(lowered.count(sign) >= boilerplate.MENU_ENTRIES for sign in boilerplate.MENU_SIGNS)
    if not found and not menus:
        return None
    count = sum(boilerplate.is_menu(line) or any(phrase in line.lower() for phrase in found) for line in short)
    return _above("boilerplate", count, len(view.lines), limits.max_boilerplate_lines, "lines of boilerplate")


def repeated_ngrams(view: View, limits: Filters) -> Reason | None:
    """``repeated_ngrams``: runs of words (or characters) that were there before, among all runs."""
    if view.spaced:
        words = view.text.split()
        total = len(words) - NGRAM_WORDS + 1
        different = len(set(zip(*(words[i:] for i in range(NGRAM_WORDS)), strict=False)))
    else:
        text = view.text
        total = len(text) - NGRAM_CHARACTERS + 1
        different = len({text[i : i + NGRAM_CHARACTERS] for i in range(max(0, total))})
    return _above("repeated_ngrams", total - different, total, limits.max_repeated_ngrams, "repeated n-grams")


def _above(name: str, count: int, total: int, limit: float, what: str) -> Reason | None:
    if total > 0 and count > limit * total:
        return Reason(name, f"{what}: {count} of {total}, at most {limit:g} of them")
    return None


FILTERS: dict[str, Callable[[View, Filters], Reason | None]] = {
    "length": length,
    "digits": digits,
    "symbols": symbols,
    "broken_unicode": broken_unicode,
    "short_lines": short_lines,
    "duplicate_lines": duplicate_lines,
    "boilerplate": boilerplate_lines,
    "repeated_ngrams": repeated_ngrams,
}
