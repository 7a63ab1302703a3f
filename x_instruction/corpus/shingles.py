"""Texts as sets of hashed shingles, and MinHash signatures of these sets, computed for a batch of texts at once.

A shingle is an n-gram of the folded text: of three words, or of five characters in scripts without spaces between
words. Folding removes case, with the two letters i of Turkish and Azerbaijani as one, and signs that may be left out:
Arabic and Hebrew vowel signs, tatweel, and zero-width characters. Two texts are near duplicates when the Jaccard
similarity of their sets is high (Broder 1997).
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
# Pads texts of fewer than WORDS words. A noncharacter, so it occurs in no normalised text.
PADDING = "\ufffe"
# Maximum length of a signature, which is divided into bands of equal numbers of rows.
PERMUTATIONS = 128
# Share of the pairs exactly at the threshold that the bands must propose. More similar pairs are found more reliably.
RECALL = 0.95
# Shingles permuted at once: 64 KB of 32-bit hashes, which stay in the first caches of a core.
CACHE_SHINGLES = 1 << 14

# Ranges of characters that do not count: the dot above that remains of a Turkish capital I, Hebrew points and accents,
# Arabic vowel signs, tatweel and Quranic signs, and zero-width characters.
_IGNORED = (
    *((0x307, 0x307), (0x591, 0x5BD), (0x5BF, 0x5BF), (0x5C1, 0x5C2), (0x5C4, 0x5C5), (0x5C7, 0x5C7)),
    *((0x610, 0x61A), (0x640, 0x640), (0x64B, 0x65F), (0x670, 0x670), (0x6D6, 0x6DC), (0x6DF, 0x6E8), (0x6EA, 0x6ED)),
    (0x200B, 0x200D),
)

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_FINALISER = np.uint64(0xBF58476D1CE4E5B9)
_STEP = 0xD1342543DE82EF95


def bands(jaccard: float) -> tuple[int, int]:
    """Number of bands and rows per band: the most rows that propose ``RECALL`` of the pairs at the threshold.

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
        texts: one or more normalised texts.
        spaced: the script puts spaces between words.

    Returns:
        Hashes, (shingles,), and the start of each text's shingles and the end of the last, (texts + 1,). Every text has
        at least one shingle.
    """
    units, starts = _words(texts) if spaced else _characters(texts)
    width = WORDS if spaced else CHARACTERS
    # A polynomial of the hashes of the units, so that their order counts; computed for all n-grams at once.
    hashes = units[: len(units) - width + 1] * np.uint64(pow(_STEP, width, 1 << 64))
    for offset in range(1, width):
        end = len(units) - width + 1 + offset
        hashes += units[offset:end] * np.uint64(pow(_STEP, width - offset, 1 << 64))
    # Remove n-grams that begin in one text and end in the next.
    counts = np.diff(starts) - width + 1
    keep = np.ones(len(hashes), dtype=bool)
    for back in range(1, width):
        keep[starts[1:-1] - back] = False
    return _finalise(hashes[keep]), np.concatenate(([0], np.cumsum(counts)))


def signatures(hashes: NDArray[np.uint64], starts: NDArray[np.int64], number: int = PERMUTATIONS) -> NDArray[np.uint32]:
    """MinHash signatures: the smallest hash of each text under each of ``number`` permutations, (texts, number)."""
    factors = _factors()[:number]
    narrow = (hashes >> np.uint64(32)).astype(np.uint32)
    minima = np.empty((number, len(starts) - 1), dtype=np.uint32)
    first = 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + CACHE_SHINGLES, side="right")) - 1)
        part = narrow[starts[first] : starts[last]]
        offsets = starts[first:last] - starts[first]
        products = np.empty_like(part)
        for index, factor in enumerate(factors):
            # Multiplying by an odd factor permutes the 32-bit numbers; the hashes are already uniform.
            np.multiply(part, factor, out=products)
            minima[index, first:last] = np.minimum.reduceat(products, offsets)
        first = last
    return minima.T


def band_keys(signatures: NDArray[np.uint32], number: int, rows: int) -> NDArray[np.uint64]:
    """A 64-bit key per band and text, (bands, texts). Texts with equal keys agree in all rows of the band."""
    keys = np.zeros((number, len(signatures)), dtype=np.uint64)
    for row in range(rows):
        keys *= _MULTIPLIER
        keys += signatures.T[row : number * rows : rows]
        keys ^= keys >> np.uint64(29)
    return keys


def _characters(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A hash per character, with runs of white space as one, and the start of each text plus the end of the last."""
    tidy = [" ".join(text.casefold().split()) for text in texts]
    flat, starts = _code_points(tidy)
    counts = np.diff(starts)
    if counts.min() < CHARACTERS:
        flat, starts = _code_points([text + " " * (CHARACTERS - n) for text, n in zip(tidy, counts, strict=True)])
    return _mixed().take(flat), starts


def _words(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A hash per word, (words,), and the start of each text's words plus the end of the last, (texts + 1,)."""
    flat, sides = _code_points([f"{text.casefold()} " for text in texts])
    powers, inverses = _powers(1 << max(10, len(flat).bit_length()))
    # Normalised text has two white-space characters, both with 0 in the table, so the sum of a word ends before them.
    ends = np.flatnonzero(flat <= 32)
    begins = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    sums = _mixed().take(flat)
    sums *= powers[: len(flat)]
    # The sum of a word is the difference of two prefix sums. Dividing by the power at its start makes it independent of
    # its position; arithmetic is modulo 2^64, where an odd number has an inverse.
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
    """Concatenated code points that count, (characters,), and the start of each text plus the end of the last."""
    flat = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    starts = np.concatenate(([0], np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))))
    is_counted = _counted().take(flat)
    if is_counted.all():
        return flat, starts
    kept = np.concatenate(([0], np.cumsum(is_counted)))
    return flat[is_counted], kept[starts]


@cache
def _counted() -> NDArray[np.bool_]:
    """Whether each code point counts, (0x110000,)."""
    table = np.ones(0x110000, dtype=bool)
    for first, last in _IGNORED:
        table[first : last + 1] = False
    return table


def _finalise(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of each hash (the finaliser of SplitMix64)."""
    hashes = hashes ^ (hashes >> np.uint64(30))
    hashes *= _FINALISER
    hashes ^= hashes >> np.uint64(31)
    return hashes


@cache
def _mixed() -> NDArray[np.uint64]:
    """A fixed pseudo-random number per code point, (0x110000,); 0 for control characters and the space."""
    table = _finalise(_finalise((np.arange(0x110000, dtype=np.uint64) + np.uint64(1)) * _MULTIPLIER))
    table[:33] = 0
    # The dotless i: case folding makes a dotted i of the capital of both.
    table[0x131] = table[0x69]
    return table


@cache
def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers modulo 2^64 of an odd number and of its inverse, (size,) each."""
    tables = []
    for base in (_STEP, pow(_STEP, -1, 1 << 64)):
        table = np.full(size, base, dtype=np.uint64)
        table[0] = 1
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]


@cache
def _factors() -> NDArray[np.uint32]:
    """Odd factors of the permutations, (PERMUTATIONS,), the same on every machine."""
    numbers = _finalise(_finalise((np.arange(PERMUTATIONS, dtype=np.uint64) + np.uint64(7)) * _MULTIPLIER))
    return (numbers >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
