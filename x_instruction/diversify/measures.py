"""Measures of the diversity of a set of texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

# Rows converted to float64 at once.
_BLOCK = 4_096
# Numbers up to so many times their count are counted without sorting.
_DENSE = 8


def distinct_ngrams(words: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], longest: int) -> list[float | None]:
    """Distinct-n (Li et al., NAACL 2016): share of distinct n-grams among all n-grams, 0 to 1; None without n-grams.

    It decreases with the size of any set, so only compare sets of the same size.

    Args:
        words: the words of all texts one after another, as numbers from 0.
        lengths: number of words of each text.
        longest: words of the longest n-grams.

    Returns:
        The shares for 1 word, 2 words, up to ``longest``.
    """
    size = int(words.max(initial=0)) + 1
    # The last word of each n-gram, and how many follow in its text.
    last = np.arange(len(words))
    left = np.repeat(np.cumsum(lengths), lengths) - last - 1
    grams, most = words, size
    shares = [_distinct(grams, most)]
    for _ in range(1, longest):
        if most > np.iinfo(np.int64).max // size:
            grams = np.unique(grams, return_inverse=True)[1]
            most = len(grams)
        longer = np.flatnonzero(left)
        last, left = last[longer] + 1, left[longer] - 1
        grams, most = grams[longer] * size + words[last], most * size
        shares.append(_distinct(grams, most))
    return shares


def _distinct(numbers: npt.NDArray[np.int64], most: int) -> float | None:
    """Share of distinct numbers, of those from 0 to below ``most``."""
    if not len(numbers):
        return None
    if most <= _DENSE * len(numbers):
        return int(np.count_nonzero(np.bincount(numbers))) / len(numbers)
    # Half as wide, they are sorted in half the time.
    ordered = np.sort(numbers.astype(np.int32) if most <= np.iinfo(np.int32).max else numbers)
    return (1 + int(np.count_nonzero(np.diff(ordered)))) / len(numbers)


def entropy(clusters: npt.ArrayLike) -> float:
    """Shannon entropy of the sizes of clusters, in nats: 0 for one cluster, ``ln k`` for k equal ones."""
    _, sizes = np.unique(np.asarray(clusters), return_counts=True)
    shares = sizes / sizes.sum()
    return abs(float(-(shares * np.log(shares)).sum()))


def mean_cosine(embeddings: Floats) -> float | None:
    """Mean cosine over all pairs of different rows of ``(n, d)``, -1 to 1; None for fewer than two rows.

    Exact in O(n d): for unit vectors ``u``, ``|sum u|^2 = sum |u|^2 + sum of cosines over ordered pairs``. A row of
    zeros has cosine 0 with every other row.
    """
    rows = len(embeddings)
    if rows < 2:
        return None
    total = np.zeros(embeddings.shape[1], dtype=np.float64)
    own = 0.0
    for start, stop in pairwise([*range(0, rows, _BLOCK), rows]):
        block = embeddings[start:stop].astype(np.float64)
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        units = np.divide(block, lengths, out=np.zeros_like(block), where=lengths > 0)
        total += units.sum(axis=0)
        own += float((units * units).sum())
    return (float(total @ total) - own) / (rows * (rows - 1))
