"""The rows with the best scores, as a baseline for the other selectors."""

from __future__ import annotations

import numpy as np

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.caps import first
from x_instruction.diversify.kmeans import placed


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """Select the rows with the best scores; of equal ones the first."""
    labels, scores = placed(embeddings, scores, draw)
    order = np.lexsort((np.arange(len(scores)), -scores)).tolist()
    selected = first(order, draw.quota, draw.caps, len(scores))
    return [Selection(row, int(labels[row]), rank) for rank, row in enumerate(selected)]
