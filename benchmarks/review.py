"""How well a review recovers the precision of thresholds, with scripted raters of known accuracy.

A sheet has 60 pairs of a run, drawn by score, and 20 rows of known quality. 95 % of the pairs with a score of 0.4 or
more are good, and 10 % of the others; two raters are each right on a given share of all rows::

    python benchmarks/review.py --sheets 40
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from x_instruction.review import quality
from x_instruction.review.answers import Answer, Rater
from x_instruction.review.sample import QUESTIONS
from x_instruction.review.sheet import Item, Sheet

PAIRS, KNOWN, EDGE, TARGET = 60, 20, 0.4, 0.8


def precision(threshold: float) -> float:
    """The true share of good pairs from a threshold on; scores are spread evenly from 0 to 1."""
    below = max(EDGE - threshold, 0.0)
    above = 1 - max(threshold, EDGE)
    return (0.1 * below + 0.95 * above) / (below + above)


def sheet(seed: int) -> tuple[Sheet, dict[str, bool]]:
    """A sheet, and whether each of its rows is good."""
    source = random.Random(seed)
    items, truth = [], {}
    for number in range(PAIRS):
        score = (number + source.random()) / PAIRS
        hidden = {"passage": str(number), "document": str(number), "score": score, "weight": 1.0}
        items.append(Item(f"p{number}", "sw", "en", f"What is {number}?", ("Jibu.",), hidden))
        truth[f"p{number}"] = source.random() < (0.95 if score >= EDGE else 0.1)
    for number in range(KNOWN):
        truth[f"k{number}"] = number % 2 == 0
        hidden = {"level": "best" if number % 2 == 0 else "worst"}
        items.append(Item(f"k{number}", "sw", "en", f"What is {number}?", ("Jibu.",), hidden))
    limits = {"min_chars": 12, "max_chars": 600, "max_sentences": 1, "max_copy": 0.5}
    hidden = {"run": "r", "language": "sw", "rater": "pmi", "precision": None, "limits": limits}
    return Sheet("review", "t", "g", ("Response",), QUESTIONS, tuple(items), True, seed, hidden), truth


def main() -> None:
    """Print a line for each accuracy of the raters."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sheets", type=int, default=40)
    given = parser.parse_args()
    expected = next(t / 1000 for t in range(1000) if precision(t / 1000) >= TARGET)
    print(f"threshold for a precision of {TARGET}: {expected:.2f}")
    print("| raters are right on | in the interval | error of precision | threshold found, middle half |")
    print("|---|---|---|---|")
    for right in (0.95, 0.9, 0.8):
        inside, errors, thresholds = [], [], []
        for seed in range(given.sheets):
            made, truth = sheet(seed)
            raters = []
            for number in (1, 2):
                source = random.Random(f"{seed} {number}")
                verdicts = {id: good == (source.random() < right) for id, good in truth.items()}
                answers = {id: Answer(choices={"quality": "good" if good else "bad"}) for id, good in verdicts.items()}
                raters.append(Rater(f"rater {number}", Path(), number, answers))
            review = quality.read(made, raters, TARGET)
            for row in review.rows:
                if row.judged >= 10:
                    inside.append(row.low <= precision(row.threshold) <= row.high)
                    errors.append(row.precision - precision(row.threshold))
            thresholds.append(np.nan if review.threshold is None else review.threshold)
        low, middle, high = np.nanpercentile(thresholds, (25, 50, 75))
        print(
            f"| {right:.0%} | {np.mean(inside):.0%} | {np.mean(errors):+.3f} (sd {np.std(errors):.3f}) | "
            f"{middle:.2f} ({low:.2f} to {high:.2f}), none in {np.isnan(thresholds).sum()} of {given.sheets} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
