"""k-center by farthest-first traversal (Gonzalez 1985): the next row is the one least similar to all selected rows.

The row with the best score is first. The largest distance of any row to the first k selected ones is at most twice the
optimum. The method prefers outliers, so use it after a rater has removed bad rows.
"""

from __future__ import annotations

import numpy as np

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.greedy import greedy
from x_instruction.diversify.kmeans import placed


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """Select rows, deterministically."""
    labels, scores = placed(embeddings, scores, draw)
    selected = greedy(embeddings, scores, draw.quota, np.zeros(len(scores)), 1.0, draw.caps)
    return [Selection(row, int(labels[row]), rank) for rank, row in enumerate(selected)]
