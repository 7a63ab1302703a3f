"""Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998). M-DaQ (arXiv 2509.15549) selects similarly.

    next = argmax over rows of  relevance * rank_share(row) - (1 - relevance) * largest cosine with a selected row

Every rater has its own scale, so the rank of a score is used instead of its value.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.greedy import greedy
from x_instruction.diversify.kmeans import placed


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """Select rows, deterministically."""
    labels, scores = placed(embeddings, scores, draw)
    values = draw.relevance * rank_share(scores)
    selected = greedy(embeddings, scores, draw.quota, values, 1 - draw.relevance, draw.caps)
    return [Selection(row, int(labels[row]), rank) for rank, row in enumerate(selected)]


def rank_share(scores: Floats) -> npt.NDArray[np.float64]:
    """Share of the other rows with a lower score, equal ones counted half: 0 to 1, ``(n,)``.

    A single row gets one half.
    """
    ordered = np.sort(scores)
    lower = np.searchsorted(ordered, scores, side="left")
    upper = np.searchsorted(ordered, scores, side="right")
    if len(ordered) < 2:
        return np.full(len(ordered), 0.5)
    shares: npt.NDArray[np.float64] = (lower + upper - 1) / (2 * (len(ordered) - 1))
    return shares
