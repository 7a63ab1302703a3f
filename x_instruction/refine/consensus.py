"""Rating by agreement: how close an instruction is to the other instructions that were written for its page.

The mean cosine of an instruction's embedding with those of the other candidates of the passage: minimum Bayes risk over
samples (Kumar and Byrne 2004; for neural text, Eikema and Aziz, arXiv 2005.10283). What a model invents differs from
sample to sample, and what it reads in the passage comes back. It asks no language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Engine, Failed
from x_instruction.records import Candidate
from x_instruction.refine import Rating

if TYPE_CHECKING:
    from x_instruction.engines.local.embedder import Embedder

needs = ()


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is -1 to 1, and 0 for the only candidate of a passage."""
    if not candidates:
        return []
    vectors = _embedder(settings.embedder, settings.embedder_revision).encode([c.instruction for c in candidates])
    rows: dict[str, list[int]] = {}
    for row, candidate in enumerate(candidates):
        rows.setdefault(candidate.id, []).append(row)
    scores = np.zeros(len(candidates), dtype=np.float64)
    for own in rows.values():
        if len(own) > 1:
            of_page = vectors[own].astype(np.float64)
            scores[own] = (of_page @ of_page.sum(axis=0) - (of_page * of_page).sum(axis=1)) / (len(own) - 1)
    # Sums in another order differ in the last digits.
    return [Rating(round(score, 6)) for score in scores.tolist()]


@cache
def _embedder(name: str, revision: str) -> Embedder:
    from x_instruction.engines.local.embedder import Embedder

    return Embedder(name, revision)
