"""Does the gain grow with the logarithm of the number of rows (Humpback, arXiv 2308.06259, section 3.5)?

Each arm takes the first rows of one order, and all have equal steps, so what differs is how many rows they see. The
largest arm is the arm *tagged* of the experiment ``language``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from x_instruction.experiments.claims import arms
from x_instruction.experiments.claims.analysis import Figure, Values, mean
from x_instruction.experiments.claims.lab import Arm, Lab
from x_instruction.experiments.claims.parts import Part, Result

NAME = "curve"
# Numbers of seeds that are trained, of those of the design.
SEEDS = 1


def parts(lab: Lab) -> Iterator[Part]:
    """An arm for each number of rows, the largest first: other experiments have trained it."""
    for number in sorted(lab.sizes.curve, reverse=True):
        pairs = lab.draw(lab.clean, number, "rows")
        for seed in lab.sizes.seeds[:SEEDS]:
            yield lab.measured(NAME, Arm(f"n-{number}", pairs, seed))


def figures(lab: Lab, results: Mapping[str, Result]) -> list[Figure]:
    """Measures of each arm, the largest against the others, and the slope once all arms are there."""
    seeds = lab.sizes.seeds[:SEEDS]
    own = [f"n-{number}" for number in sorted(lab.sizes.curve)]
    made = arms.figures(NAME, results, seeds, own, [(own[-1], name) for name in own[:-1]])
    measured = [arms.values(results, name, "gain", seeds) for name in own]
    if not all(measured):
        return made
    for group in measured[0]:
        values = [one[group] for one in measured if group in one]
        if len(values) == len(own):
            made.append(mean(NAME, "gain", "slope", slopes(sorted(lab.sizes.curve), values), group, "nats"))
    return made


def slopes(numbers: Sequence[int], measured: Sequence[Values]) -> Values:
    """The slope of each row's gain on the natural logarithm of the number of training rows, by least squares.

    The mean of these slopes is the slope of the mean gain.

    Args:
        numbers: numbers of training rows.
        measured: the gains of each.
    """
    logs = np.array([math.log(number) for number in numbers])
    centred = logs - logs.mean()
    gains = np.stack([one.values for one in measured])
    return Values(measured[0].documents, np.tensordot(centred / (centred @ centred), gains, 1))
