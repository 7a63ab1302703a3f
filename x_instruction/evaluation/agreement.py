"""Do a model's answers agree over languages?

CrossIn's Consistency and AC3 (docs/method.md, 4.6), and Pinch's score of a model against a monolingual one (4.4).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from x_instruction.bootstrap import Interval, intervals

# Bootstrap samples of the items.
RESAMPLES = 2_000
# Predictions of one prompt: a row per language, a column per item; None for an invalid answer.
Predictions = Sequence[Sequence[int | str | None]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Medians over prompts, with 95 % bootstrap intervals over the items.

    Args:
        languages, items, prompts: their numbers.
        size: number of languages in a set, ``s``.
        accuracy: mean over the languages.
        consistency: ``Consistency_s``.
        ac3: ``AC3_s``, the harmonic mean of accuracy and consistency.
        invalid: share of invalid answers, over all prompts.
    """

    languages: int
    items: int
    prompts: int
    size: int
    accuracy: float
    consistency: float
    ac3: float
    invalid: float
    accuracy_interval: Interval
    consistency_interval: Interval
    ac3_interval: Interval


def consistency(predictions: Predictions, size: int) -> list[float]:
    """For each item the share of sets of ``size`` languages in which all answers are equal, right or wrong.

    An invalid answer agrees with nothing, so no set with one counts.

    Raises:
        ValueError: ``size`` is not between 2 and the number of languages.
    """
    if not 2 <= size <= len(predictions):
        raise ValueError(f"size is {size}, expected 2 to {len(predictions)}, the number of languages")
    sets = math.comb(len(predictions), size)
    return [
        sum(math.comb(count, size) for answer, count in Counter(column).items() if answer is not None) / sets
        for column in zip(*predictions, strict=True)
    ]


def ac3(accuracy: float, consistency: float) -> float:
    """The harmonic mean of accuracy and consistency; 0 if both are 0."""
    return 2 * accuracy * consistency / (accuracy + consistency + 1e-10)


def agreement(
    prompts: Sequence[Predictions],
    scores: Sequence[Sequence[Sequence[float]]],
    size: int,
    draws: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """Accuracy, Consistency and AC3 of a model that answered the same items in several languages.

    Args:
        prompts: the predictions with each variant of the prompt. CrossIn has five.
        scores: in the shape of the predictions, 1 for a right answer and 0 for a wrong one.
        size: number of languages in a set.
        draws, seed: of the bootstrap.

    Raises:
        ValueError: a wrong ``size``, or rows of unequal length.
    """
    right = [[sum(column) / len(column) for column in zip(*rows, strict=True)] for rows in scores]
    agreed = [consistency(rows, size) for rows in prompts]

    def figures(right: npt.NDArray[np.float64], agreed: npt.NDArray[np.float64]) -> list[float]:
        # (items, prompts): the mean over items for each prompt, then the median over prompts.
        accuracies, consistencies = right.mean(axis=0), agreed.mean(axis=0)
        pairs = zip(accuracies, consistencies, strict=True)
        return [float(np.median(each)) for each in (accuracies, consistencies, [ac3(*pair) for pair in pairs])]

    columns = np.array(right).T, np.array(agreed).T
    values, ends = figures(*columns), intervals(figures, columns, draws, seed)
    flat = [answer for rows in prompts for row in rows for answer in row]
    return Agreement(
        languages=len(prompts[0]),
        items=len(right[0]),
        prompts=len(prompts),
        size=size,
        accuracy=values[0],
        consistency=values[1],
        ac3=values[2],
        invalid=sum(answer is None for answer in flat) / len(flat),
        accuracy_interval=ends[0],
        consistency_interval=ends[1],
        ac3_interval=ends[2],
    )


def side_by_side(
    reference: Sequence[float], model: Sequence[float], draws: int = RESAMPLES, seed: int = 0
) -> tuple[float, Interval]:
    """Pinch's score of a model against a reference that was trained in the language alone: 50 is parity.

    Args:
        reference, model: the score of each item. The item counts 1 if the model's is higher, 0 if it is lower, else ½.
        draws, seed: of the bootstrap.

    Returns:
        The score, 0 to 100, and its 95 % interval by item.

    Raises:
        ValueError: no items, or unequal numbers of scores.
    """
    if not reference:
        raise ValueError("no items, expected at least one")
    pairs = zip(reference, model, strict=True)
    values = np.array([50.0 * (1 + (ours > theirs) - (ours < theirs)) for theirs, ours in pairs])
    return float(values.mean()), intervals(lambda rows: [rows.mean()], (values,), draws, seed)[0]
