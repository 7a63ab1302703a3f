"""Do rows that the pipeline curates train a better model than as many rows drawn at random?

Pairs with planted noise go through the screens of the corpus and the checks of instructions, and are rated by the
combination of ``raters``. Arms of as many rows: *curated* has the best of those that pass, *bottom* the worst ones,
*random* any, *oracle* only pairs that were not spoilt. All name the language of the answer.

The rater that ships has seen the stories of the pool, so it may know some of these responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import numpy as np

from x_instruction.errors import ShardsMissing
from x_instruction.experiments.claims import arms, raters, ratings, removal
from x_instruction.experiments.claims import parts as kept
from x_instruction.experiments.claims.analysis import Figure
from x_instruction.experiments.claims.lab import Arm, Lab
from x_instruction.experiments.claims.noise import CLEAN, Pair
from x_instruction.experiments.claims.parts import Part, Result
from x_instruction.hashing import derive_seed
from x_instruction.refine import combined

NAME = "curation"
ARMS = ("curated", "random", "oracle", "bottom")
COMPARED = (
    ("curated", "random"),
    ("oracle", "random"),
    ("curated", "bottom"),
    ("oracle", "curated"),
    ("random", "bottom"),
)
# The raters that are combined: one with the base model, one with an adapter.
FEATURES = ("pmi", "trained")


def parts(lab: Lab) -> Iterator[Part]:
    """The scores of the pairs, and every arm with every seed."""
    features = [_features(lab, name) for name in FEATURES]
    yield from features
    scores = _scores(lab, features)
    for name in ARMS:
        for seed in lab.sizes.seeds:
            yield lab.measured(NAME, Arm(name, rows(lab, name, scores), seed))


def _features(lab: Lab, name: str) -> Part:
    """The scores of a rater on the planted pairs, and on the pairs that the combination is fitted on."""
    adapter = lab.design.rater_adapter if name == "trained" else ""
    planted, fitted = [ratings.labelled(pair) for pair in lab.pairs], raters.sets(lab).fitted
    settings = {
        "model": lab.design.model,
        "adapter": adapter,
        "dtype": lab.design.dtype,
        "response_tokens": ratings.RESPONSE_TOKENS,
        "examples": [asdict(example) for example in (*planted, *fitted)],
    }

    def make() -> Result:
        found = ratings.scores(lab, ratings.model(lab, adapter), [*planted, *fitted], [name])[name]
        return {"planted": found[: len(planted)], "fitted": found[len(planted) :]}

    return Part(f"{NAME}/score-{name}", settings, make)


def _scores(lab: Lab, features: list[Part]) -> list[float]:
    """The log-odds of each planted pair by the combination.

    Raises:
        ShardsMissing: a rater has not rated yet.
    """
    results = [kept.read(lab.folder, part) for part in features]
    missing = [part.name for part, result in zip(features, results, strict=True) if result is None]
    if missing:
        raise ShardsMissing(f"{' and '.join(missing)} come first: run the command again once they are made")
    return combination(
        lab, {part.name.rpartition("-")[2]: result or {} for part, result in zip(features, results, strict=True)}
    )


def combination(lab: Lab, results: Mapping[str, Result]) -> list[float]:
    """The log-odds of each planted pair.

    Args:
        lab: the lab.
        results: those of the scores, by rater.
    """
    good = [example.strategy == raters.GOOD for example in raters.sets(lab).fitted]
    fitted = combined.fit(np.column_stack([results[name]["fitted"] for name in FEATURES]), FEATURES, good)
    odds = fitted.model.log_odds(np.column_stack([results[name]["planted"] for name in FEATURES]))
    found: list[float] = odds.tolist()
    return found


def rows(lab: Lab, arm: str, scores: list[float]) -> tuple[Pair, ...]:
    """The training rows of an arm, in an order that its selection does not decide.

    Raises:
        RecipeError: there are too few.
    """
    number = lab.sizes.rows
    if arm == "random":
        return lab.draw(lab.pairs, number, NAME)
    if arm == "oracle":
        return lab.draw([pair for pair in lab.pairs if pair.kind == CLEAN], number, NAME)
    order = ranking(lab, scores)
    chosen = order[-number:] if arm == "bottom" else order[:number]
    return lab.draw(chosen, number, NAME)


def ranking(lab: Lab, scores: list[float]) -> list[Pair]:
    """The planted pairs, the best ones first: those that pass the screens by their score, and then the others."""
    passed = [reason is None for reason in removal.screened(lab.pairs)]
    order = sorted(
        range(len(lab.pairs)), key=lambda n: (not passed[n], -scores[n], derive_seed(0, NAME, lab.pairs[n].id))
    )
    return [lab.pairs[n] for n in order]


def figures(lab: Lab, results: Mapping[str, Result]) -> list[Figure]:
    """Measures of the arms and their differences, and what was removed of the noise, by kind."""
    made = arms.figures(NAME, results, lab.sizes.seeds, ARMS, COMPARED)
    scored = {name: results[f"score-{name}"] for name in FEATURES if f"score-{name}" in results}
    if len(scored) == len(FEATURES):
        order = ranking(lab, combination(lab, scored))
        # Half of the pairs are spoilt, so half of them are kept.
        made += removal.figures(NAME, lab.pairs, {pair.id for pair in order[: len(order) // 2]})
    return made
