"""What the pipeline removes of the noise that was planted: by its screens alone, and by them and a rater.

The screens are the code of the stages: filters and language check of the corpus for the response, checks of the form
for the instruction. A pair that passes may still have lost lines: the corpus stage removes those in another language.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from functools import lru_cache

import numpy as np

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.corpus.screen import Screen
from x_instruction.corpus.sources import Document
from x_instruction.experiments.claims import analysis
from x_instruction.experiments.claims.analysis import Figure, Values
from x_instruction.experiments.claims.noise import CLEAN, KINDS, Pair
from x_instruction.form import find_faults
from x_instruction.languages import language
from x_instruction.records import Dropped

# Shortest response, in characters of Latin script. Texts of the pool are short; all other thresholds are the defaults.
_SHORTEST = 100


def screened(pairs: Sequence[Pair]) -> list[str | None]:
    """Why the pipeline drops each pair before it is rated, such as ``passage: wrong_language``; None if it does not.

    Repeated calls with the same pairs cost nothing.

    Raises:
        RecipeError: the language check does not know a language.
    """
    return list(_screened(tuple(pairs)))


def figures(experiment: str, pairs: Sequence[Pair], kept: Container[str]) -> list[Figure]:
    """How much of the noise was removed, with intervals by document.

    Args:
        experiment: name of the experiment.
        pairs: all pairs.
        kept: ids of those that were kept.

    Returns:
        For the arms ``removed`` (not in ``kept``) and ``screens`` (dropped before they are rated): ``precision``, the
        share of noise in what was removed; ``recall``, the share of the noise that was removed, also by kind; and
        ``lost``, the share of the clean pairs that was removed. A figure without rows is left out.
    """
    arms = {
        "removed": [pair.id not in kept for pair in pairs],
        "screens": [reason is not None for reason in screened(pairs)],
    }
    return [figure for arm, removed in arms.items() for figure in _figures(experiment, arm, pairs, removed)]


def _figures(experiment: str, arm: str, pairs: Sequence[Pair], removed: Sequence[bool]) -> Iterator[Figure]:
    noise = [pair.kind != CLEAN for pair in pairs]
    rows = range(len(pairs))
    chosen = [
        ("precision", "all", noise, [row for row in rows if removed[row]]),
        ("recall", "all", removed, [row for row in rows if noise[row]]),
        *(("recall", kind, removed, [row for row in rows if pairs[row].kind == kind]) for kind in KINDS),
        ("lost", CLEAN, removed, [row for row in rows if not noise[row]]),
    ]
    for measure, group, values, part in chosen:
        if part:
            table = np.array([[float(values[row]) for row in part]])
            own = Values([pairs[row].document for row in part], table)
            yield analysis.mean(experiment, measure, arm, own, group)


@lru_cache(maxsize=4)
def _screened(pairs: tuple[Pair, ...]) -> tuple[str | None, ...]:
    rows: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        rows.setdefault(pair.language, []).append(row)
    reasons: dict[int, str] = {}
    for tag, part in rows.items():
        reasons |= {part[n]: f"passage: {reason}" for n, reason in _dropped([pairs[row].text for row in part], tag)}
    # The checks ask no model, but the section needs a name. Three sentences are what recipes of chat models allow.
    settings = Generate(model=Model(name="embedded"), max_sentences=3)
    faults = find_faults([(pair.instruction, pair.text) for pair in pairs], settings, language("en"))
    for row, fault in enumerate(faults):
        if fault:
            reasons.setdefault(row, f"instruction: {fault}")
    return tuple(reasons.get(row) for row in range(len(pairs)))


def _dropped(texts: Sequence[str], tag: str) -> Iterator[tuple[int, str]]:
    """Numbers of the texts of which the corpus stage keeps nothing, and why."""
    corpus = Corpus(source="sample", filters=Filters(min_chars=_SHORTEST))
    documents = [Document(str(number), text, url="", license="", source="") for number, text in enumerate(texts)]
    kept, lost = set[int](), dict[int, str]()
    for records, _ in Screen(corpus, language(tag)).batches(documents):
        for record in records:
            if isinstance(record, Dropped):
                lost.setdefault(int(record.id.partition("#")[0]), record.reason)
            else:
                kept.add(int(record.document_id))
    yield from ((number, reason) for number, reason in lost.items() if number not in kept)
