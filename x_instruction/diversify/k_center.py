"""Farthest first (Gonzalez 1985): each row drawn is the one least like all that are drawn; the best scored begins.

Its first k rows leave no row farther from them than twice the best k rows could. It is drawn to outliers: use it on
rows that the rater has already let through.
"""

from __future__ import annotations

import numpy as np

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.greedy import greedy
from x_instruction.diversify.kmeans import placed


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """The rows of a draw, the same for the same input."""
    labels, scores = placed(embeddings, scores, draw)
    drawn = greedy(embeddings, scores, draw.quota, np.zeros(len(scores)), 1.0, draw.caps)
    return [Selection(row, int(labels[row]), rank) for rank, row in enumerate(drawn)]
