"""A uniform random sample, as a baseline for the other selectors."""

from __future__ import annotations

import numpy as np

from x_instruction.diversify import Draw, Floats, Selection
from x_instruction.diversify.caps import first
from x_instruction.diversify.kmeans import placed


def select(embeddings: Floats, scores: Floats, draw: Draw) -> list[Selection]:
    """Select rows at random, determined by the seed. Scores are ignored."""
    labels, scores = placed(embeddings, scores, draw)
    order = np.random.default_rng(draw.seed).permutation(len(scores)).tolist()
    selected = first(order, draw.quota, draw.caps, len(scores))
    return [Selection(row, int(labels[row]), rank) for rank, row in enumerate(selected)]
