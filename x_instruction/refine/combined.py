"""Rating by a tuned model and by mutual information together.

The log-odds of ``best`` say what levels teach (broken, foreign, beside the point), the gain in likelihood says how
closely the instruction fits this response; both are in nats, so they add. The same model gives both, its adapter
included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Engine, Failed
from x_instruction.records import Candidate
from x_instruction.refine import Rating, pmi, trained

needs = ("choose", "score")

# Log-odds of more than 27.6 nats say no more than these.
_LEAST = 1e-12


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is a probability of ``best``, 0 to 1, as of a tuned rater.

    ``logit(score) = logit(p_best) + pmi_weight * pmi``, with ``p_best`` calibrated and ``pmi`` as ``direction`` has it
    (nats per token of the response, or nats). What is left is shared between the other levels as the tuned rater
    shares it. The engine is asked for one kind of answer after the other.
    """
    # A prompt is the tuned rater's; mutual information has its own.
    levels = trained.rate(candidates, settings, engine, ask)
    gains = pmi.rate(candidates, settings, engine, ask)
    return [_joined(level, gain, settings.pmi_weight) for level, gain in zip(levels, gains, strict=True)]


def _joined(level: Rating | Failed, gain: Rating | Failed, weight: float) -> Rating | Failed:
    if isinstance(level, Failed):
        return level
    if isinstance(gain, Failed):
        return gain
    before = min(max(level.score, _LEAST), 1 - _LEAST)
    best = _sigmoid(math.log(before / (1 - before)) + weight * gain.score)
    flawed, worst = level.p_flawed or 0.0, level.p_worst or 0.0
    share = flawed / (flawed + worst) if flawed + worst > 0 else 0.5
    return Rating(best, p_best=best, p_flawed=(1 - best) * share, p_worst=(1 - best) * (1 - share))


def _sigmoid(value: float) -> float:
    """``1 / (1 + exp(-value))``, without an overflow; not a number stays one."""
    if value < 0:
        return math.exp(value) / (1 + math.exp(value))
    return 1 / (1 + math.exp(-value))
