"""Rating by a trained model combined with mutual information.

The log-odds of ``best`` reflect what the levels teach (truncated, in another language, off topic); the mutual
information measures how closely the instruction fits this response. Both are in nats, so they can be added. Both come
from the same model with its adapter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Engine, Failed
from x_instruction.records import Candidate
from x_instruction.refine import Rating, pmi, trained

needs = ("choose", "score")

# Limits the log-odds to 27.6 nats.
_LEAST = 1e-12


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is a probability of ``best``, 0 to 1, as for a trained rater.

    ``logit(score) = logit(p_best) + pmi_weight * pmi``, with the calibrated ``p_best``, and ``pmi`` by ``direction``
    (nats per token of the response, or nats). The remaining probability is divided between the other levels in the
    ratio of the trained rater.
    """
    # settings.prompt is for the trained rater; mutual information has a prompt of its own.
    levels = trained.rate(candidates, settings, engine, ask)
    gains = pmi.rate(candidates, settings, engine, ask)
    return [_combine(level, gain, settings.pmi_weight) for level, gain in zip(levels, gains, strict=True)]


def _combine(level: Rating | Failed, gain: Rating | Failed, weight: float) -> Rating | Failed:
    if isinstance(level, Failed):
        return level
    if isinstance(gain, Failed):
        return gain
    p_best = min(max(level.score, _LEAST), 1 - _LEAST)
    best = _sigmoid(math.log(p_best / (1 - p_best)) + weight * gain.score)
    flawed, worst = level.p_flawed or 0.0, level.p_worst or 0.0
    share = flawed / (flawed + worst) if flawed + worst > 0 else 0.5
    return Rating(best, p_best=best, p_flawed=(1 - best) * share, p_worst=(1 - best) * (1 - share))


def _sigmoid(value: float) -> float:
    """``1 / (1 + exp(-value))`` without overflow; NaN stays NaN."""
    if value < 0:
        return math.exp(value) / (1 + math.exp(value))
    return 1 / (1 + math.exp(-value))
