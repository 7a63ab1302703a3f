"""The best scored rows, whatever they are about: what the other selectors are compared with."""

from __future__ import annotations

import numpy as np

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.caps import first
from x_instruction.diversify.kmeans import placed


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """The rows of a draw; of equal scores the first row goes first."""
    labels, scores = placed(embeddings, scores, draw)
    order = np.lexsort((np.arange(len(scores)), -scores)).tolist()
    drawn = first(order, draw.quota, draw.caps, len(scores))
    return [Selection(row, int(labels[row]), rank) for rank, row in enumerate(drawn)]
