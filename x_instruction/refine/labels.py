"""Pairs of three levels, made from seeds: what a rater learns from and is measured on (method.md 2.3, U4).

The paper's evaluator sorts pairs into best ones, reasonable ones with flaws, and worst ones. Nobody labels them: a
builder makes a pair of a known level from a seed. Every draw follows from ids and the seed, never from the order of
pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from x_instruction.corpus import characters
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.refine import corruptions
from x_instruction.refine.nearest_neighbor import Nearest
from x_instruction.seed.pairs import Pair

LEVELS = ("best", "flawed", "worst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A pair whose level is known.

    Args:
        id: ``<id of the pair>/<language>/<builder>``.
        document: of the seed pair; pages of several languages that say the same share it.
        language: tag of the response's language.
        instruction_language: tag of the instruction's language.
        instruction: what is asked, the seed's input included.
        text: the response.
        level: one of ``LEVELS``.
        builder: name of what made it.
    """

    id: str
    document: str
    language: str
    instruction_language: str
    instruction: str
    text: str
    level: str
    builder: str


class Pool:
    """All seeds, for builders that put something of another seed in.

    Args:
        pairs: in any order.
        weaker: what a weaker model wrote for pairs, by builder of ``WEAKER`` and ``key``.
    """

    def __init__(self, pairs: Sequence[Pair], weaker: Mapping[str, Mapping[str, str]]) -> None:
        self.weaker = weaker
        self.seeds: dict[str, list[Pair]] = {}
        for pair in sorted(pairs, key=lambda pair: (pair.language, pair.id, pair.instruction, pair.input, pair.output)):
            self.seeds.setdefault(pair.language, []).append(pair)
        self._nearest: dict[str, Nearest | None] = {}

    def nearest(self, tag: str, row: int) -> int | None:
        """The seed of that language, of another document, whose instruction is most like that of the row.

        None where no third document is left that is less alike.
        """
        if tag not in self._nearest:
            seeds = self.seeds[tag]
            texts, documents = [pair.asked for pair in seeds], [pair.document for pair in seeds]
            several = len(set(documents)) > 2
            self._nearest[tag] = Nearest(texts, documents, seeds[0].instruction_language) if several else None
        likeness = self._nearest[tag]
        return likeness.of(row) if likeness else None


# Instruction and response made from a seed (its language and row in the pool), or None where it cannot be done.
Make = Callable[[Pool, str, int, Random], tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to make a pair of a level."""

    level: str
    make: Make


def key(pair: Pair) -> str:
    """What tells a seed from others: ``<id>/<language>``."""
    return f"{pair.id}/{pair.language}"


def _pair(pool: Pool, tag: str, row: int, random: Random) -> tuple[str, str]:
    pair = pool.seeds[tag][row]
    return pair.asked, pair.output


def _truncated(pool: Pool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    text = corruptions.broken_off(pair.output, random, _spaced(tag))
    return (pair.asked, text) if text else None


def _shuffled(pool: Pool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    text = corruptions.shuffled(pair.output, random, _spaced(tag))
    return (pair.asked, text) if text else None


def _foreign(pool: Pool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    others = [other for other in pool.seeds if other != tag]
    if not others:
        return None
    pair, theirs = pool.seeds[tag][row], random.choice(others)
    other = random.choice(pool.seeds[theirs])
    text = corruptions.partly_foreign(pair.output, _spaced(tag), other.output, _spaced(theirs), random)
    return (pair.asked, text) if text else None


def _near_miss(pool: Pool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    near = pool.nearest(tag, row)
    return None if near is None else (pool.seeds[tag][near].asked, pool.seeds[tag][row].output)


def _other_page(pool: Pool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    seeds = pool.seeds[tag]
    pair, start = seeds[row], random.randrange(len(seeds))
    # The most similar one makes a flawed pair; one text must not have one instruction at two levels.
    near = pool.nearest(tag, row)
    for step in range(len(seeds)):
        number = (start + step) % len(seeds)
        other = seeds[number]
        if other.document != pair.document and number != near and other.asked.casefold() != pair.asked.casefold():
            return other.asked, pair.output
    return None


def _weaker(pool: Pool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    written = pool.weaker.get("weak-instruction", {}).get(key(pair), "").strip()
    return (written, pair.output) if written and written.casefold() != pair.asked.casefold() else None


def _weaker_answer(pool: Pool, tag: str, row: int, random: Random) -> tuple[str, str] | None:
    pair = pool.seeds[tag][row]
    written = pool.weaker.get("weak-response", {}).get(key(pair), "").strip()
    return (pair.asked, written) if written and written != pair.output.strip() else None


STRATEGIES = {
    # The seed itself.
    "pair": Strategy("best", _pair),
    # The response breaks off early, inside a sentence.
    "truncated": Strategy("flawed", _truncated),
    # Its sentences in another order.
    "shuffled": Strategy("flawed", _shuffled),
    # Sentences near its beginning are replaced by those of a seed in another language.
    "foreign": Strategy("flawed", _foreign),
    # The instruction of the most similar other document.
    "hard-negative": Strategy("flawed", _near_miss),
    # An instruction that a weaker writer wrote for the response.
    "weak-instruction": Strategy("flawed", _weaker),
    # The answer of a weaker model to the instruction.
    "weak-response": Strategy("flawed", _weaker_answer),
    # The instruction of any other document.
    "random-negative": Strategy("worst", _other_page),
}


# Builders that put in what a weaker model wrote.
WEAKER = ("weak-instruction", "weak-response")


def check(names: Sequence[str]) -> None:
    """Refuse builders that a rater cannot learn from.

    Raises:
        RecipeError: a level has none.
    """
    for level in LEVELS:
        able = [name for name, builder in STRATEGIES.items() if builder.level == level]
        if not set(able) & set(names):
            raise RecipeError(f"refine.label_strategies has none of the level {level!r}: name one of {', '.join(able)}")


def examples(
    pairs: Sequence[Pair],
    names: Sequence[str],
    per_level: int,
    seed: int,
    weaker: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Example]:
    """Examples of every level, ordered by language, document and level.

    A builder makes at most one example of a seed, and skips what it cannot make, as another order of one sentence.

    Args:
        pairs: seeds of any languages.
        names: of builders.
        per_level: examples of each level that a seed gives at most, drawn among its builders that yield something.
        seed: of every draw.
        weaker: for the builders of ``WEAKER``: what a weaker model wrote, by builder and ``key`` of the pair.

    Raises:
        CorpusError: a level has no examples at all.
    """
    # In the table's order: which comes first in a recipe changes nothing.
    wanted = [name for name in STRATEGIES if name in names]
    pool = Pool(pairs, weaker or {})
    made = [
        example
        for tag, seeds in pool.seeds.items()
        for row in range(len(seeds))
        for level in LEVELS
        for example in _of_level(
            pool, tag, row, [name for name in wanted if STRATEGIES[name].level == level], per_level, seed
        )
    ]
    counts = Counter(example.level for example in made)
    for level in LEVELS:
        if not counts[level]:
            able = ", ".join(name for name, builder in STRATEGIES.items() if builder.level == level)
            raise CorpusError(
                f"{len(pairs)} seeds and the builders {', '.join(wanted) or 'none'} give no pair of the level "
                f"{level!r}: name one of {able} in refine.label_strategies, or add seeds"
            )
    return made


def _of_level(pool: Pool, tag: str, row: int, names: list[str], most: int, seed: int) -> list[Example]:
    """At most so many examples of one seed, of the builders named, which are all of one level."""
    pair = pool.seeds[tag][row]
    if names:
        Random(derive_seed(seed, "level", STRATEGIES[names[0]].level, key(pair))).shuffle(names)
    found: list[Example] = []
    for name in names:
        if len(found) == most:
            break
        made = STRATEGIES[name].make(pool, tag, row, Random(derive_seed(seed, "builder", name, key(pair))))
        if made is None:
            continue
        found.append(
            Example(
                id=f"{key(pair)}/{name}",
                document=pair.document,
                language=pair.language,
                instruction_language=pair.instruction_language,
                instruction=made[0],
                text=made[1],
                level=STRATEGIES[name].level,
                builder=name,
            )
        )
    return found


def balance(made: Sequence[Example], seed: int) -> list[Example]:
    """As many examples of each level as the rarest has, in their order; ids and seed decide which."""
    counts = Counter(example.level for example in made)
    least = min((counts[level] for level in LEVELS), default=0)
    drawn: set[int] = set()
    for level in LEVELS:
        rows = [row for row, example in enumerate(made) if example.level == level]
        drawn.update(sorted(rows, key=lambda row: (derive_seed(seed, "balance", made[row].id), made[row].text))[:least])
    return [example for row, example in enumerate(made) if row in drawn]


def split(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs to validate on, each in their order.

    A document is on one side with all its languages, and stays there whatever other seeds there are: a rater that
    learns from more of them, or in fewer languages, has still not seen the validation pages. Only of very few does a
    side take more than its share: two documents, where there are four, so that one can be had for the other.

    Args:
        pairs: seeds of any languages.
        share: of the documents that are for validation, about.
        seed: of the draw.
    """
    places = {id: derive_seed(seed, "development", id) / 2**63 for id in {pair.document for pair in pairs}}
    ranked = sorted(places, key=lambda id: (places[id], id))
    count = sum(place < share for place in places.values())
    if 0 < share < 1:
        least = min(2, len(ranked) // 2)
        count = min(max(count, least), len(ranked) - least)
    apart = set(ranked[:count])
    return [pair for pair in pairs if pair.document not in apart], [pair for pair in pairs if pair.document in apart]


def _spaced(tag: str) -> bool:
    return characters.spaced(language(tag))
