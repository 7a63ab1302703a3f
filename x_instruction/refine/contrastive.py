"""Rating by contrast: does an instruction fit its own page better than other pages of the same language?

``log p(instruction | page) - log mean p(instruction | other page)``, in nats, over a few other pages of the block. A
general instruction is likely given any page, which mutual information (``pmi``) rewards and this does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Engine, Failed, Scored
from x_instruction.hashing import derive_seed
from x_instruction.records import Candidate
from x_instruction.refine import Rating, pmi

needs = ("score",)


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is in nats, or in nats per token of the instruction (``per_token``).

    If the block holds a single page, the prompt without a page takes the place of the others.
    """
    shown = pmi.truncated(candidates, settings, engine)
    pages = {candidate.id: shown[candidate.text] for candidate in candidates}
    others = {id: _others(id, list(pages), settings.other_pages) for id in pages}
    asked = [
        [pmi.given(c, text) for text in (pages[c.id], *([pages[other] for other in others[c.id]] or [""]))]
        for c in candidates
    ]
    # Grouped by page, so that an engine computes each page once.
    order = {request.prompt: number for number, request in enumerate(row[0] for row in asked)}
    distinct = sorted(
        {request for row in asked for request in row}, key=lambda r: (order.get(r.prompt, -1), r.continuation)
    )
    answers = dict(zip(distinct, ask(distinct), strict=True))
    return [_rating([answers[request] for request in row], settings.per_token) for row in asked]


def _others(id: str, ids: list[str], number: int) -> list[str]:
    """Some other pages: the same ones for a page among the same pages."""
    drawn = Random(derive_seed(0, "contrast", id)).sample(ids, min(number + 1, len(ids)))
    return [other for other in drawn if other != id][:number]


def _rating(answers: Sequence[object], per_token: bool) -> Rating | Failed:
    failed = next((answer for answer in answers if isinstance(answer, Failed)), None)
    if failed is not None:
        return failed
    own, *rest = (answer for answer in answers if isinstance(answer, Scored))
    highest = max(answer.log_likelihood for answer in rest)
    mean = highest + math.log(sum(math.exp(a.log_likelihood - highest) for a in rest) / len(rest))
    gain = own.log_likelihood - mean
    return Rating(gain / own.tokens if per_token else gain)
