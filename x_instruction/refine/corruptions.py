"""Responses made worse on purpose: broken off, in another order, partly in another language.

A rater reads only the first tokens of a response, so a flaw must show within its first ``SHOWN`` characters.
"""

from __future__ import annotations

import re
from random import Random

from x_instruction.corpus.segment import boundary, ends, sentences

# About 100 tokens where a tokenizer knows the language well; raters read 256 unless told otherwise.
SHOWN = 400
# Shares of a response that stay when it is broken off.
LEAST_KEPT, MOST_KEPT = 0.1, 0.4

_SPACES = re.compile(r"\s+")


def broken_off(text: str, random: Random, spaced: bool) -> str | None:
    """The beginning of a text, 10 to 40 % of it, that ends inside a sentence; None when there is no such place.

    Of a text so long that the break would lie behind ``SHOWN`` less is kept. Where there are spaces between words the
    break is at one.
    """
    low, high = max(1, round(LEAST_KEPT * len(text))), int(MOST_KEPT * len(text))
    if high > SHOWN:
        low, high = min(low, SHOWN // 2), SHOWN
    stops = ends(text)
    if spaced:
        gaps = [found for found in _SPACES.finditer(text, 0, high + 1) if "\n" not in found[0]]
        places = [found.start() for found in gaps]
    else:
        places = [place for place in range(low, high + 1) if boundary(text, place) and _solid(text, place)]
    inside = [place for place in places if low <= place <= high and place not in stops and text[:place].strip()]
    return text[: random.choice(inside)] if inside else None


def shuffled(text: str, random: Random, spaced: bool) -> str | None:
    """The sentences of a text in another order that another one begins, or None when there are not two.

    The space between sentences stays where it is, so paragraphs do not tell the order.
    """
    spans = sentences(text, spaced)
    if len(spans) < 2:
        return None
    first = random.randrange(1, len(spans))
    rest = [number for number in range(len(spans)) if number != first]
    random.shuffle(rest)
    made = _put(text, spans, [text[slice(*spans[number])] for number in (first, *rest)])
    return made if made != text else None


def partly_foreign(text: str, spaced: bool, other: str, other_spaced: bool, random: Random) -> str | None:
    """A text with one to half of its sentences, from the first or second on, replaced by another text's first ones.

    None when it has but one sentence, or the other has none.

    Args:
        other: text of another language.
        other_spaced: its words are divided by spaces.
    """
    spans, theirs = sentences(text, spaced), sentences(other, other_spaced)
    if len(spans) < 2 or not theirs:
        return None
    count = min(random.randint(1, len(spans) // 2), len(theirs))
    start = random.randint(0, 1)
    if spans[start][0] > SHOWN:
        start = 0
    pieces = [text[slice(*span)] for span in spans]
    pieces[start : start + count] = [other[slice(*span)] for span in theirs[:count]]
    made = _put(text, spans, pieces)
    return made if made != text else None


def _solid(text: str, place: int) -> bool:
    """Whether no space touches the place."""
    return 0 < place < len(text) and not text[place - 1].isspace() and not text[place].isspace()


def _put(text: str, spans: list[tuple[int, int]], pieces: list[str]) -> str:
    """The text with other pieces in the places of its sentences."""
    made, before = "", 0
    for (start, end), piece in zip(spans, pieces, strict=True):
        made += text[before:start] + piece
        before = end
    return made + text[before:]
