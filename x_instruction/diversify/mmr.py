"""Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998; M-DaQ draws in its spirit, method.md 3.9).

    next = argmax over rows of  relevance * standing(row) - (1 - relevance) * largest cosine with a drawn row

Raters have scales of their own, so a score counts by its standing among the others and not by its size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.greedy import greedy
from x_instruction.diversify.kmeans import placed


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """The rows of a draw, the same for the same input."""
    labels, scores = placed(embeddings, scores, draw)
    worth = draw.relevance * standing(scores)
    drawn = greedy(embeddings, scores, draw.quota, worth, 1 - draw.relevance, draw.caps)
    return [Selection(row, int(labels[row]), rank) for rank, row in enumerate(drawn)]


def standing(scores: Floats) -> npt.NDArray[np.float64]:
    """Share of the other rows that are scored lower, those scored alike counted half: 0 to 1, ``(n,)``.

    A single row stands at one half.
    """
    ordered = np.sort(scores)
    lower = np.searchsorted(ordered, scores, side="left")
    upper = np.searchsorted(ordered, scores, side="right")
    if len(ordered) < 2:
        return np.full(len(ordered), 0.5)
    shares: npt.NDArray[np.float64] = (lower + upper - 1) / (2 * (len(ordered) - 1))
    return shares
