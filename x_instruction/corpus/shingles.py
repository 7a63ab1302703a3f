"""Texts as sets of hashed shingles, and MinHash signatures of those sets, a batch at a time.

A shingle is a run of three words, or of five characters where words have no spaces between them, of the lower-case
text. Two texts are near duplicates when the Jaccard similarity of their sets is high (Broder 1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS = 3
CHARACTERS = 5
# Stands for the words that a text of fewer than WORDS lacks; a noncharacter, so in no normalised text.
PADDING = "\ufffe"
# Hash functions of a signature, at most; bands take a whole number of rows out of these.
PERMUTATIONS = 128
# Of the pairs at the threshold itself, bands must propose this share; those above it are found more surely.
RECALL = 0.95
# Shingles hashed at once: 64 KB of 32-bit hashes, which stay in a core's first caches for all permutations.
CACHE_SHINGLES = 1 << 14

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_FINALISER = np.uint64(0xBF58476D1CE4E5B9)
_STEP = 0xD1342543DE82EF95


def bands(jaccard: float) -> tuple[int, int]:
    """Bands and rows per band: the most rows that still propose ``RECALL`` of the pairs at a similarity.

    A pair of similarity s shares at least one of b bands of r rows with probability 1 - (1 - s^r)^b (Leskovec,
    Rajaraman and Ullman, Mining of Massive Datasets, section 3.4).
    """
    rows = 1
    for candidate in range(1, 33):
        if 1 - (1 - jaccard**candidate) ** (PERMUTATIONS // candidate) >= RECALL:
            rows = candidate
    return PERMUTATIONS // rows, rows


def shingles(texts: Sequence[str], spaced: bool) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashed shingles of each text, in order and with repetitions.

    Args:
        texts: at least one, normalised.
        spaced: words of the text are divided by spaces.

    Returns:
        Hashes (shingles,) and where each text's begin, with the end last (texts + 1,). No text is without one.
    """
    units, starts = _words(texts) if spaced else _characters(texts)
    width = WORDS if spaced else CHARACTERS
    hashes = units[: len(units) - width + 1] * np.uint64(pow(_STEP, width, 1 << 64))
    for place in range(1, width):
        end = len(units) - width + 1 + place
        hashes += units[place:end] * np.uint64(pow(_STEP, width - place, 1 << 64))
    # Runs that begin in one text and end in the next are no shingles.
    counts = np.diff(starts) - width + 1
    keep = np.ones(len(hashes), dtype=bool)
    for back in range(1, width):
        keep[starts[1:-1] - back] = False
    return _finalise(hashes[keep]), np.concatenate(([0], np.cumsum(counts)))


def signatures(hashes: NDArray[np.uint64], starts: NDArray[np.int64], number: int = PERMUTATIONS) -> NDArray[np.uint32]:
    """MinHash signatures: the least hash of each text under each of ``number`` permutations, (texts, number)."""
    factors = _factors()[:number]
    narrow = (hashes >> np.uint64(32)).astype(np.uint32)
    found = np.empty((number, len(starts) - 1), dtype=np.uint32)
    first = 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + CACHE_SHINGLES, side="right")) - 1)
        part = narrow[starts[first] : starts[last]]
        places = starts[first:last] - starts[first]
        scratch = np.empty_like(part)
        for index, factor in enumerate(factors):
            # An odd factor permutes the 32-bit numbers; the hashes are uniform already.
            np.multiply(part, factor, out=scratch)
            found[index, first:last] = np.minimum.reduceat(scratch, places)
        first = last
    return found.T


def band_keys(found: NDArray[np.uint32], number: int, rows: int) -> NDArray[np.uint64]:
    """One 64-bit key per band; texts with an equal key agree in all rows of the band: (bands, texts)."""
    keys = np.zeros((number, len(found)), dtype=np.uint64)
    for row in range(rows):
        keys *= _MULTIPLIER
        keys += found.T[row : number * rows : rows]
        keys ^= keys >> np.uint64(29)
    return keys


def _characters(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A hash per character, runs of space as one, and where each text's begin, with the end last."""
    tidy = [" ".join(text.lower().split()).ljust(CHARACTERS) for text in texts]
    flat, starts = _code_points(tidy)
    return _mixed().take(flat), starts


def _words(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A hash per word, and where each text's words begin, with the end last: (words,), (texts + 1,)."""
    flat, sides = _code_points([f"{text.lower()} " for text in texts])
    powers, inverses = _powers(1 << max(10, len(flat).bit_length()))
    # Normalised text has two characters of space, and their numbers are 0 in the table: a word's sum ends before it.
    ends = np.flatnonzero(flat <= 32)
    begins = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    sums = _mixed().take(flat)
    sums *= powers[: len(flat)]
    upto = np.cumsum(sums, out=sums)[ends]
    hashes = upto.copy()
    hashes[1:] -= upto[:-1]
    hashes *= inverses.take(begins)
    filled = ends > begins
    hashes, begins = hashes[filled], begins[filled]
    starts = np.searchsorted(begins, sides)
    if np.diff(starts).min() < WORDS:
        counts = np.diff(starts)
        padded = [
            text if n >= WORDS else text + f" {PADDING}" * (WORDS - n)
            for text, n in zip(texts, counts.tolist(), strict=True)
        ]
        return _words(padded)
    return _finalise(hashes), starts


def _code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Code points of all texts in a row, and where each begins, with the end last: (characters,), (texts + 1,)."""
    flat = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return flat, np.concatenate(([0], np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))))


def _finalise(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over all bits (a round of SplitMix64)."""
    hashes = hashes ^ (hashes >> np.uint64(30))
    hashes *= _FINALISER
    hashes ^= hashes >> np.uint64(31)
    return hashes


@cache
def _mixed() -> NDArray[np.uint64]:
    """A fixed random number for every code point, 0 for controls and the space: (0x110000,)."""
    table = _finalise(_finalise((np.arange(0x110000, dtype=np.uint64) + np.uint64(1)) * _MULTIPLIER))
    table[:33] = 0
    return table


@cache
def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers of an odd number modulo 2^64 and of its inverse: twice (size,)."""
    found = []
    for base in (_STEP, pow(_STEP, -1, 1 << 64)):
        table = np.full(size, base, dtype=np.uint64)
        table[0] = 1
        found.append(np.multiply.accumulate(table))
    return found[0], found[1]


@cache
def _factors() -> NDArray[np.uint32]:
    """Odd factors of the permutations, the same on every machine: (PERMUTATIONS,)."""
    numbers = _finalise(_finalise((np.arange(PERMUTATIONS, dtype=np.uint64) + np.uint64(7)) * _MULTIPLIER))
    return (numbers >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
