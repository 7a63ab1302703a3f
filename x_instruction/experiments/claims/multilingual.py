"""How many multilingual rows among English ones does it take until a model answers in the language of the prompt?

This is the question of Pinch (arXiv 2401.01854; docs/method.md 3.4) at a fixed number of rows. Multilingual rows are
spread evenly over languages. English rows are the English texts of other documents. All prompts name the language of
the answer. The arm with multilingual rows only is one of the experiment ``curve``, if that has this number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from x_instruction.experiments.claims import arms
from x_instruction.experiments.claims.analysis import Figure
from x_instruction.experiments.claims.lab import Arm, Lab
from x_instruction.experiments.claims.noise import Pair
from x_instruction.experiments.claims.parts import Part, Result

NAME = "multilingual"
# Numbers of seeds that are trained, of those of the design. The effect is large, and each arm takes a training.
SEEDS = 1


def parts(lab: Lab) -> Iterator[Part]:
    """An arm for each number of multilingual rows. Only the language of answers is measured."""
    for name, number in names(lab.sizes.multilingual).items():
        pairs = rows(lab, number)
        for seed in lab.sizes.seeds[:SEEDS]:
            yield lab.measured(NAME, Arm(name, pairs, seed), answers_only=True)


def figures(lab: Lab, results: Mapping[str, Result]) -> list[Figure]:
    """Shares of right and clean answers, each arm against none and all against it."""
    own = tuple(names(lab.sizes.multilingual))
    against = [(name, "none") for name in own if name != "none"]
    against += [(name, "all") for name in own if name not in ("none", "all")]
    return arms.figures(NAME, results, lab.sizes.seeds[:SEEDS], own, [pair for pair in against if set(pair) <= {*own}])


def names(numbers: Sequence[int]) -> dict[str, int]:
    """The arms and their numbers of multilingual rows: ``none``, ``tenth`` (the nearest to it), ``all``, others."""
    total = max(numbers)
    between = [number for number in numbers if 0 < number < total]
    tenth = min(between, key=lambda number: abs(number - total / 10), default=0)
    known = {0: "none", total: "all"} | ({tenth: "tenth"} if tenth else {})
    return {known.get(number, f"m-{number}"): number for number in numbers}


def rows(lab: Lab, number: int) -> tuple[Pair, ...]:
    """The training rows of an arm: so many multilingual ones, and English ones up to the largest number.

    Raises:
        RecipeError: there are too few documents for the English rows.
    """
    total = max(lab.sizes.multilingual)
    pool = lab.draw(lab.clean, total, "rows")
    if number == total:
        return pool
    multilingual = spread(pool)[:number]
    used = {pair.document for pair in multilingual}
    others = [pair for pair in english(lab) if pair.document not in used]
    return (*multilingual, *lab.draw(others, total - number, "english"))


def spread(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs in turn by language, so that every beginning of them is spread evenly."""
    by_language: dict[str, int] = {}
    turns = []
    for pair in pairs:
        turns.append(by_language.get(pair.language, 0))
        by_language[pair.language] = turns[-1] + 1
    order = sorted(range(len(pairs)), key=lambda place: (turns[place], place))
    return tuple(pairs[place] for place in order)


def english(lab: Lab) -> list[Pair]:
    """One English pair for each document that is trained on."""
    texts = {document.document: document.text_en for document in lab.split.train}
    one_each = {pair.document: pair for pair in lab.clean}
    return [
        replace(pair, id=f"en-{name}", language="en", text=texts[name])
        for name, pair in one_each.items()
        if name in texts
    ]
