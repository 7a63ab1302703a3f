"""No rating: every pair counts the same, so the first candidates of each passage are kept (to compare with)."""

from __future__ import annotations

from collections.abc import Sequence

from x_instruction import recipe
from x_instruction.engines import Engine, Failed
from x_instruction.generate import Ask
from x_instruction.records import Candidate
from x_instruction.refine import Rating

needs = ()


def rate(candidates: Sequence[Candidate], settings: recipe.Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """A rating of 0 for every candidate; nothing is asked."""
    return [Rating(0.0) for _ in candidates]
