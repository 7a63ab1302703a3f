"""Labelled pairs of three levels, made from seeds, to train and evaluate a rater.

The evaluator of the paper sorts pairs into best ones, reasonable ones with flaws, and worst ones; how its training data
was made is not published. Here, strategies make pairs of a known level from seeds. All random choices depend on ids and
the seed, not on the order of the pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from x_instruction.corpus import characters
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.refine import corruptions
from x_instruction.refine.nearest_neighbor import NearestNeighbors
from x_instruction.seed.pairs import Pair

LEVELS = ("best", "flawed", "worst")
# The strategy of pairs that people judged.
JUDGED = "judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A pair with a known level.

    Args:
        id: ``<id of the seed>/<language>/<strategy>``.
        document: document of the seed; translations of a page share it.
        language: language tag of the response.
        instruction_language: language tag of the instruction.
        instruction: the instruction, with the input of the seed.
        text: the response.
        level: one of ``LEVELS``.
        strategy: name of the strategy that made it.
    """

    id: str
    document: str
    language: str
    instruction_language: str
    instruction: str
    text: str
    level: str
    strategy: str


class SeedPool:
    """All seeds, for strategies that combine two of them.

    Args:
        pairs: seeds in any order.
        weak: texts of a weaker model, by strategy of ``WEAK_STRATEGIES`` and ``key`` of the seed.
    """

    def __init__(self, pairs: Sequence[Pair], weak: Mapping[str, Mapping[str, str]]) -> None:
        self.weak = weak
        self.seeds: dict[str, list[Pair]] = {}
        for pair in sorted(pairs, key=lambda pair: (pair.language, pair.id, pair.instruction, pair.input, pair.output)):
            self.seeds.setdefault(pair.language, []).append(pair)
        self._documents = {(pair.document, tag): pair for tag, own in self.seeds.items() for pair in reversed(own)}
        self._nearest: dict[str, NearestNeighbors | None] = {}

    def in_language(self, pair: Pair, tag: str) -> Pair | None:
        """A seed from the same document in this language, or None."""
        return self._documents.get((pair.document, tag))

    def nearest(self, tag: str, row: int) -> int | None:
        """The row of the most similar instruction of another document in the same language.

        None with fewer than three documents: ``random-negative`` then needs the only other one.
        """
        if tag not in self._nearest:
            seeds = self.seeds[tag]
            texts, documents = [pair.asked for pair in seeds], [pair.document for pair in seeds]
            is_enough = len(set(documents)) > 2
            self._nearest[tag] = (
                NearestNeighbors(texts, documents, seeds[0].instruction_language) if is_enough else None
            )
        neighbors = self._nearest[tag]
        return neighbors.of(row) if neighbors else None


InDocument = TypeVar("InDocument", Pair, Example)

# Makes instruction and response from a seed, given by its language and row in the pool; None if it cannot.
Make = Callable[[SeedPool, str, int, Random], tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to make pairs of a level."""

    level: str
    make: Make


def key(pair: Pair) -> str:
    """Unique key of a seed: ``<id>/<language>``."""
    return f"{pair.id}/{pair.language}"


def _pair(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str]:
    pair = pool.seeds[tag][row]
    return pair.asked, pair.output


def _truncated(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    text = corruptions.truncated(pair.output, random, _spaced(tag))
    return (pair.asked, text) if text else None


def _shuffled(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    text = corruptions.shuffled(pair.output, random, _spaced(tag))
    return (pair.asked, text) if text else None


def _foreign(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    others = [other for other in pool.seeds if other != tag]
    if not others:
        return None
    pair, other_tag = pool.seeds[tag][row], random.choice(others)
    other = random.choice(pool.seeds[other_tag])
    text = corruptions.partly_foreign(pair.output, _spaced(tag), other.output, _spaced(other_tag), random)
    return (pair.asked, text) if text else None


def _hard_negative(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    near = pool.nearest(tag, row)
    return None if near is None else (pool.seeds[tag][near].asked, pool.seeds[tag][row].output)


def _random_negative(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    seeds = pool.seeds[tag]
    pair, start = seeds[row], random.randrange(len(seeds))
    # The most similar instruction makes a hard negative. The same pair must not occur with two levels.
    near = pool.nearest(tag, row)
    for step in range(len(seeds)):
        number = (start + step) % len(seeds)
        other = seeds[number]
        if other.document != pair.document and number != near and other.asked.casefold() != pair.asked.casefold():
            return other.asked, pair.output
    return None


def _untranslated(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    if pair.instruction_language == tag:
        return None
    translation = pool.in_language(pair, pair.instruction_language)
    return pair.asked, translation.output if translation else pair.asked


def _weak_instruction(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    written = pool.weak.get("weak-instruction", {}).get(key(pair), "").strip()
    return (written, pair.output) if written and written.casefold() != pair.asked.casefold() else None


def _weak_response(pool: SeedPool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    written = pool.weak.get("weak-response", {}).get(key(pair), "").strip()
    return (pair.asked, written) if written and written != pair.output.strip() else None


STRATEGIES = {
    # The seed itself.
    "pair": Strategy("best", _pair),
    # The response is cut early, inside a sentence.
    "truncated": Strategy("flawed", _truncated),
    # The sentences of the response in another order.
    "shuffled": Strategy("flawed", _shuffled),
    # Sentences near the beginning of the response are replaced by those of a seed in another language.
    "foreign": Strategy("flawed", _foreign),
    # The instruction of the most similar other document.
    "hard-negative": Strategy("flawed", _hard_negative),
    # An instruction for the response, written by a weaker model.
    "weak-instruction": Strategy("flawed", _weak_instruction),
    # A response to the instruction, written by a weaker model.
    "weak-response": Strategy("flawed", _weak_response),
    # The instruction of any other document.
    "random-negative": Strategy("worst", _random_negative),
    # The response is in the language of the instruction: that of the seed of the same document in that language, or
    # else the instruction itself.
    "untranslated": Strategy("worst", _untranslated),
}


# Strategies that use the texts of a weaker model.
WEAK_STRATEGIES = ("weak-instruction", "weak-response")


def check(names: Sequence[str]) -> None:
    """Refuse strategies that do not cover all levels.

    Raises:
        RecipeError: a level has none.
    """
    for level in LEVELS:
        able = [name for name, strategy in STRATEGIES.items() if strategy.level == level]
        if not set(able) & set(names):
            raise RecipeError(
                f"refine.label_strategies has no strategy for the level {level!r}: add one of {', '.join(able)}"
            )


def examples(
    pairs: Sequence[Pair],
    names: Sequence[str],
    per_level: int,
    seed: int,
    weak: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Example]:
    """Make examples of every level, ordered by language, document and level.

    A strategy makes at most one example from a seed, and none if it cannot (one sentence has no other order).

    Args:
        pairs: seeds in any languages.
        names: names of strategies.
        per_level: maximum number of examples of each level per seed; random ones if strategies make more.
        seed: random seed.
        weak: texts of a weaker model for ``WEAK_STRATEGIES``, by strategy and ``key`` of the seed.

    Raises:
        CorpusError: a level has no examples at all.
    """
    # In the order of the table, so that the order in the recipe does not matter.
    enabled = [name for name in STRATEGIES if name in names]
    pool = SeedPool(pairs, weak or {})
    result = [
        example
        for tag, seeds in pool.seeds.items()
        for row in range(len(seeds))
        for level in LEVELS
        for example in _of_level(
            pool, tag, row, [name for name in enabled if STRATEGIES[name].level == level], per_level, seed
        )
    ]
    counts = Counter(example.level for example in result)
    for level in LEVELS:
        if not counts[level]:
            able = ", ".join(name for name, strategy in STRATEGIES.items() if strategy.level == level)
            raise CorpusError(
                f"{len(pairs)} seeds and the label strategies {', '.join(enabled) or 'none'} give no pair of the level "
                f"{level!r}: add one of {able} to refine.label_strategies, or add seeds"
            )
    return result


def _of_level(pool: SeedPool, tag: str, row: int, names: list[str], most: int, seed: int) -> list[Example]:
    """At most ``most`` examples of one seed by these strategies, which are all of one level."""
    pair = pool.seeds[tag][row]
    if names:
        Random(derive_seed(seed, "level", STRATEGIES[names[0]].level, key(pair))).shuffle(names)
    result: list[Example] = []
    for name in names:
        if len(result) == most:
            break
        # "builder" is the old name of a strategy; another word here would be another draw.
        pair_texts = STRATEGIES[name].make(pool, tag, row, Random(derive_seed(seed, "builder", name, key(pair))))
        if pair_texts is None:
            continue
        result.append(
            Example(
                id=f"{key(pair)}/{name}",
                document=pair.document,
                language=pair.language,
                instruction_language=pair.instruction_language,
                instruction=pair_texts[0],
                text=pair_texts[1],
                level=STRATEGIES[name].level,
                strategy=name,
            )
        )
    return result


def balance(labelled: Sequence[Example], seed: int) -> list[Example]:
    """Equal numbers of examples of each level, in order. Ids and the seed determine which are kept.

    What people judged is kept before what was made from seeds.
    """
    counts = Counter(example.level for example in labelled)
    least = min((counts[level] for level in LEVELS), default=0)
    kept_rows: set[int] = set()
    for level in LEVELS:
        rows = [row for row, example in enumerate(labelled) if example.level == level]
        kept_rows.update(
            sorted(
                rows,
                key=lambda row: (
                    labelled[row].strategy != JUDGED,
                    derive_seed(seed, "balance", labelled[row].id),
                    labelled[row].text,
                ),
            )[:least]
        )
    return [example for row, example in enumerate(labelled) if row in kept_rows]


def split(pairs: Sequence[InDocument], share: float, seed: int) -> tuple[list[InDocument], list[InDocument]]:
    """Split pairs into training and validation pairs, each in order.

    All languages of a document are on the same side, and its side does not depend on other seeds: a rater that is
    trained on more seeds or fewer languages has still not seen the validation documents. The only exception are very
    few documents: each side gets at least two of four, so that strategies can combine two.

    Args:
        pairs: seeds or labelled pairs in any languages.
        share: approximate share of documents for validation.
        seed: random seed.
    """
    # "development" is the old name of validation; another word here would be another split.
    fractions = {id: derive_seed(seed, "development", id) / 2**63 for id in {pair.document for pair in pairs}}
    ranked = sorted(fractions, key=lambda id: (fractions[id], id))
    count = sum(fraction < share for fraction in fractions.values())
    if 0 < share < 1:
        least = min(2, len(ranked) // 2)
        count = min(max(count, least), len(ranked) - least)
    validation = set(ranked[:count])
    sides: tuple[list[InDocument], list[InDocument]] = ([], [])
    for pair in pairs:
        sides[pair.document in validation].append(pair)
    return sides


def _spaced(tag: str) -> bool:
    return characters.spaced(language(tag))
