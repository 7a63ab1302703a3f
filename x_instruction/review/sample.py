"""Pairs of a run for a review by native speakers.

The sample is stratified by the score of the rater: each stratum is a range of scores with as many pairs of the run, and
gives as many pairs to the sample. It holds the best candidate of a passage, kept or not, so that thresholds below that
of the run can be judged too. Rows of known quality (seeds, and corruptions of them) lie among the pairs: they tell how
reliable a rater is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import cast

import numpy as np

from x_instruction.config.fields import asked_in
from x_instruction.config.recipe import Recipe
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.hashing import derive_seed, digest
from x_instruction.languages import language
from x_instruction.pipeline.rounds import last_round
from x_instruction.records import Passage, Rated
from x_instruction.refine import labels, scores
from x_instruction.refine.labels import Example
from x_instruction.review.sheet import Choice, Item, Needs, Question, Sheet
from x_instruction.seed.gather import gather
from x_instruction.seed.pairs import Pair
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import PASSAGE, StageKey

STRATA = 10
# With fewer rows of known quality, a rater who guesses can hardly be distinguished from a good one.
LEAST_PLANTED = 20
QUESTIONS = (
    Question(
        "quality",
        "Is this a good pair?",
        (Choice("good", "Good"), Choice("flawed", "Flawed"), Choice("bad", "Bad")),
    ),
    Question(
        "flaw",
        "What is wrong?",
        (
            Choice("off_topic", "Does not answer it"),
            Choice("unclear", "Instruction unclear"),
            Choice("damaged", "Cut off or out of order"),
            Choice("language", "Wrong or mixed language"),
            Choice("unnatural", "Not natural"),
            Choice("wrong", "False or harmful"),
            Choice("other", "Something else"),
        ),
        needs=Needs("quality", ("flawed", "bad")),
    ),
)
_GUIDE = """Read the instruction, then the response in {name}. \
Good: the response answers the instruction, and you would show both to a learner. \
Flawed: it is usable, but something is wrong. Bad: it does not answer the instruction, or the text is broken.
You can correct the instruction, in {instructions}, so that the response answers it. Some pairs are spoilt on purpose.
Your answers stay in this browser until you save or share the file."""
# Keys of the recipe that decide which instructions are malformed.
_LIMITS = ("min_chars", "max_chars", "max_sentences", "max_copy")


@dataclass(frozen=True, slots=True)
class Scored:
    """The best candidate of a passage with its score."""

    passage: Passage
    instruction: str
    score: float
    kept: bool


def make(run: RunFolder, recipe: Recipe, tag: str, rows: int, known: int | None, seed: int) -> Sheet:
    """A sheet of pairs of a run.

    Args:
        run: the run.
        recipe: its recipe.
        tag: the language.
        rows: number of pairs from the run.
        known: number of rows of known quality among them, from the seeds of the recipe. Without seeds of the language
            they are corruptions of the run's own pairs. None for a fifth of ``rows``, at least 20.
        seed: decides the sample.

    Raises:
        RecipeError: the run does not have the language.
        CorpusError: no pair of the language is rated yet.
    """
    if tag not in recipe.languages:
        raise RecipeError(f"{run.location} has no {tag}, only {', '.join(recipe.languages)}: name one of them")
    pool = list(_pool(run, recipe, tag))
    if not pool:
        raise CorpusError(f"{run.location} has no rated pairs of {tag} yet: finish the run first")
    sample, weights = _sample(pool, rows, seed)
    into = asked_in(recipe.generate.instruction_language, tag)
    items = [_item(one, weight, into, seed) for one, weight in zip(sample, weights, strict=True)]
    items += [
        _known_item(example, seed)
        for example in _known(recipe, tag, pool, max(LEAST_PLANTED, rows // 5) if known is None else known, seed)
    ]
    spoken, asked = language(tag), language(into)
    return Sheet(
        kind="review",
        title=f"Review of pairs in {spoken.name}",
        guide=_GUIDE.format(name=spoken.name, instructions=asked.name),
        labels=("Response",),
        questions=QUESTIONS,
        # The order says nothing, and each rater gets another one.
        items=tuple(sorted(items, key=lambda item: item.id)),
        editable=True,
        seed=seed,
        hidden={
            "run": run.root.name,
            "language": tag,
            "pool": len(pool),
            "rater": recipe.refine.rater,
            "precision": recipe.refine.precision,
            "limits": {name: getattr(recipe.generate, name) for name in _LIMITS},
        },
    )


def _pool(run: RunFolder, recipe: Recipe, tag: str) -> Iterator[Scored]:
    rated = StageKey("rated", last_round(run, recipe))
    for key in run.shards(PASSAGE, tag):
        if not run.complete(key.at(rated)):
            continue
        best: dict[str, tuple[float, str, bool]] = {}
        for record in cast(Iterator[Rated], run.read(key.at(rated))):
            if record.id not in best or record.score > best[record.id][0]:
                best[record.id] = record.score, record.instruction, True
        lost = list(run.dropped(key.at(rated)))
        found = scores(lost)
        for dropped in lost:
            owner, _, _ = dropped.id.rpartition("-")
            score = found.get(dropped.id)
            if score is not None and (owner not in best or (not best[owner][2] and score > best[owner][0])):
                best[owner] = score, dropped.text, False
        for passage in run.read(key):
            if passage.id in best:
                score, instruction, kept = best[passage.id]
                yield Scored(passage, instruction, score, kept)


def _sample(pool: Sequence[Scored], rows: int, seed: int) -> tuple[list[Scored], list[float]]:
    """A stratified sample, and how many pairs of the pool each one counts for."""
    ranked = sorted(pool, key=lambda one: (one.score, one.passage.id))
    strata = np.array_split(np.arange(len(ranked)), min(STRATA, rows, len(ranked)))
    sample: list[Scored] = []
    weights: list[float] = []
    for number, part in enumerate(strata):
        size = min(len(part), rows // len(strata) + (number < rows % len(strata)))
        random = Random(derive_seed(seed, "stratum", number))
        chosen = random.sample(part.tolist(), size)
        sample += [ranked[place] for place in chosen]
        weights += [len(part) / size] * size
    return sample, weights


def _known(recipe: Recipe, tag: str, pool: Sequence[Scored], count: int, seed: int) -> list[Example]:
    """Rows of known quality: half good ones, where there are seeds, and half spoilt ones."""
    if not count:
        return []
    pairs = gather(recipe).get(tag, []) if recipe.seeds.paths else []
    has_seeds = len(pairs) > 1
    if not has_seeds:
        pairs = [
            Pair(
                id=one.passage.id,
                instruction=one.instruction,
                output=one.passage.text,
                language=tag,
                instruction_language=asked_in(recipe.generate.instruction_language, tag),
                source=one.passage.source,
                document_id=one.passage.document_id,
            )
            for one in pool
        ]
    if len({pair.document for pair in pairs}) < 2:
        return []
    made = labels.examples(pairs, ("pair", "truncated", "shuffled", "random-negative"), 1, seed)
    groups = [[one for one in made if (one.level == "best") == is_good] for is_good in (True, False)]
    sizes = (count - count // 2, count // 2) if has_seeds else (0, count)
    return [
        example
        for group, size in zip(groups, sizes, strict=True)
        for example in sorted(group, key=lambda one: derive_seed(seed, "known", one.id))[:size]
    ]


def _item(one: Scored, weight: float, into: str, seed: int) -> Item:
    hidden = {
        "passage": one.passage.id,
        "document": one.passage.document_id,
        "score": one.score,
        "weight": weight,
        "kept": one.kept,
    }
    text = one.passage.text
    return Item(_id(seed, one.passage.id), one.passage.language, into, one.instruction, (text,), hidden)


def _known_item(example: Example, seed: int) -> Item:
    hidden = {"level": example.level, "strategy": example.strategy}
    return Item(
        _id(seed, example.id),
        example.language,
        example.instruction_language,
        example.instruction,
        (example.text,),
        hidden,
    )


def _id(seed: int, id: str) -> str:
    return digest([seed, id])[:12]
