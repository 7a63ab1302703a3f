"""Rows by chance, all alike: the least that a selector has to beat."""

from __future__ import annotations

import numpy as np

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.caps import first
from x_instruction.diversify.kmeans import placed


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """The rows of a draw, the same for the same seed; scores count for nothing."""
    labels, scores = placed(embeddings, scores, draw)
    order = np.random.default_rng(draw.seed).permutation(len(scores)).tolist()
    drawn = first(order, draw.quota, draw.caps, len(scores))
    return [Selection(row, int(labels[row]), rank) for rank, row in enumerate(drawn)]
