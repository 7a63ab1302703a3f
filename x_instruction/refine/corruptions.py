"""Corruptions of responses: truncated, shuffled, partly in another language, disfluent, padded.

A rater reads only the first tokens of a response, so a corruption must begin within the first ``SHOWN`` characters.
"""

from __future__ import annotations

import re
from random import Random

from x_instruction.corpus.segment import boundary, ends, sentences

# About 100 tokens for a tokenizer that supports the language well; by default, raters read 256.
SHOWN = 400
# Minimum and maximum share of a response that is kept when it is truncated.
LEAST_KEPT, MOST_KEPT = 0.1, 0.4

_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"\S+")
# A piece of a script without spaces.
_PIECE = re.compile(r"\S{1,4}")
# Characters of a padded text, as a multiple of the original.
_PADDED = 1.2


def truncated(text: str, random: Random, spaced: bool) -> str | None:
    """The first 10 to 40 % of a text, cut inside a sentence; None if there is no such position.

    Less is kept of a long text, so that the cut is within ``SHOWN`` characters. If the script has spaces between words,
    the cut is at one.
    """
    low, high = max(1, round(LEAST_KEPT * len(text))), int(MOST_KEPT * len(text))
    if high > SHOWN:
        low, high = min(low, SHOWN // 2), SHOWN
    stops = ends(text)
    if spaced:
        gaps = [match for match in _SPACES.finditer(text, 0, high + 1) if "\n" not in match[0]]
        positions = [match.start() for match in gaps]
    else:
        positions = [
            position for position in range(low, high + 1) if boundary(text, position) and _solid(text, position)
        ]
    inside = [
        position
        for position in positions
        if low <= position <= high and position not in stops and text[:position].strip()
    ]
    return text[: random.choice(inside)] if inside else None


def shuffled(text: str, random: Random, spaced: bool) -> str | None:
    """The sentences of a text in another order with another first sentence; None if there are fewer than two.

    The white space between sentences stays in place, so that paragraphs do not reveal the order.
    """
    spans = sentences(text, spaced)
    if len(spans) < 2:
        return None
    first = random.randrange(1, len(spans))
    rest = [number for number in range(len(spans)) if number != first]
    random.shuffle(rest)
    result = _put(text, spans, [text[slice(*spans[number])] for number in (first, *rest)])
    return result if result != text else None


def partly_foreign(text: str, spaced: bool, other: str, other_spaced: bool, random: Random) -> str | None:
    """A text with one to half of its sentences replaced by the first sentences of another text.

    The first replaced sentence is the first or second one. None if the text has only one sentence, or the other none.

    Args:
        text: the text.
        spaced: its script puts spaces between words.
        other: a text in another language.
        other_spaced: the script of the other text puts spaces between words.
        random: source of the random numbers.
    """
    spans, other_spans = sentences(text, spaced), sentences(other, other_spaced)
    if len(spans) < 2 or not other_spans:
        return None
    count = min(random.randint(1, len(spans) // 2), len(other_spans))
    start = random.randint(0, 1)
    if spans[start][0] > SHOWN:
        start = 0
    pieces = [text[slice(*span)] for span in spans]
    pieces[start : start + count] = [other[slice(*span)] for span in other_spans[:count]]
    result = _put(text, spans, pieces)
    return result if result != text else None


def disfluent(text: str, random: Random, spaced: bool) -> str | None:
    """A text with words in the wrong order and some words missing; None with fewer than eight words.

    In every four words, two neighbours are exchanged; in every second four, one is left out. A script without spaces
    has pieces of a few characters for words. The first and the last word stay, so that the ends do not reveal it.
    """
    spans = [match.span() for match in (_WORD if spaced else _PIECE).finditer(text)]
    if not spaced:
        spans = [(start, end) for start, end in spans if boundary(text, start) and boundary(text, end)]
    if len(spans) < 8:
        return None
    words = [text[start:end] for start, end in spans]
    for group, start in enumerate(range(1, len(words) - 4, 4)):
        position = start + random.randrange(3)
        words[position], words[position + 1] = words[position + 1], words[position]
        if group % 2:
            words[start + random.randrange(4)] = ""
    result = re.sub(" {2,}", " ", _put(text, spans, words))
    return result if result != text else None


def padded(text: str, other: str, spaced: bool) -> str | None:
    """A longer and worse text: the first half of a text's sentences, then sentences of another text in its language.

    The result has at least 1.2 times the characters; None if there are too few sentences for that.

    Args:
        text: the text.
        other: a text about something else.
        spaced: the script puts spaces between words.
    """
    spans = sentences(text, spaced)
    if len(spans) < 2:
        return None
    result = text[: spans[(len(spans) - 1) // 2][1]]
    for start, end in sentences(other, spaced):
        if len(result) >= _PADDED * len(text):
            break
        result += ("\n" if "\n" in text else " ") + other[start:end]
    return result if len(result) >= _PADDED * len(text) else None


def _solid(text: str, position: int) -> bool:
    """True if there is no white space on either side of the position."""
    return 0 < position < len(text) and not text[position - 1].isspace() and not text[position].isspace()


def _put(text: str, spans: list[tuple[int, int]], pieces: list[str]) -> str:
    """Replace the sentences of a text, given by their spans, by other pieces."""
    result, done = "", 0
    for (start, end), piece in zip(spans, pieces, strict=True):
        result += text[done:start] + piece
        done = end
    return result + text[done:]
