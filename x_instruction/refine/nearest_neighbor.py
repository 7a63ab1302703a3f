"""The most similar instruction of another document, by TF-IDF cosine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from x_instruction.corpus import characters
from x_instruction.corpus.words import words
from x_instruction.languages import language

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In scripts without spaces between words, n-grams of this many characters replace words.
CHARACTERS = 3
# Instructions with the same words have cosine 1, up to rounding.
_SAME = 1 - 1e-9


class NearestNeighbors:
    """An index of the instructions of one language.

    The weight of a word that occurs ``t`` times in an instruction and in ``d`` of ``n`` instructions is
    ``t * ln(1 + n / d)``; the similarity is the cosine of these weights, 0 to 1 (Salton and Buckley 1988).

    Args:
        instructions: one per row.
        documents: document of each row.
        tag: language of the instructions.
    """

    def __init__(self, instructions: Sequence[str], documents: Sequence[str], tag: str) -> None:
        spaced = characters.spaced(language(tag))
        counts = [Counter(_terms(instruction, spaced)) for instruction in instructions]
        frequencies = Counter(term for row in counts for term in row)
        self._weights = [
            _unit({t: n * math.log1p(len(counts) / frequencies[t]) for t, n in row.items()}) for row in counts
        ]
        numbers = {document: number for number, document in enumerate(dict.fromkeys(documents))}
        self._documents = np.array([numbers[document] for document in documents], dtype=np.int64)
        rows: dict[str, list[int]] = {}
        for row, weights in enumerate(self._weights):
            for term in weights:
                rows.setdefault(term, []).append(row)
        self._rows = {term: np.array(indices, dtype=np.int64) for term, indices in rows.items()}
        self._shares = {
            term: np.array([self._weights[row][term] for row in indices], dtype=np.float64)
            for term, indices in rows.items()
        }
        self.of = cache(self._of)

    def similarity(self, row: int) -> NDArray[np.float64]:
        """Cosine of a row with every row, (rows,)."""
        total = np.zeros(len(self._weights), dtype=np.float64)
        for term, weight in self._weights[row].items():
            total[self._rows[term]] += weight * self._shares[term]
        return total

    def _of(self, row: int) -> int | None:
        """The most similar row of another document that is not equal to this one; the first of equally similar ones."""
        cosines = self.similarity(row)
        cosines[(self._documents == self._documents[row]) | (cosines > _SAME)] = 0
        best = int(np.argmax(cosines))
        return best if cosines[best] > 0 else None


def _terms(instruction: str, spaced: bool) -> list[str]:
    instruction_words = words(instruction)
    if spaced:
        return instruction_words
    joined = "".join(instruction_words)
    return [joined[start : start + CHARACTERS] for start in range(max(1, len(joined) - CHARACTERS + 1))]


def _unit(weights: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(sum(weight * weight for weight in weights.values()))
    return {term: weight / length for term, weight in weights.items()}
