"""Labelled pairs by hand, and that they depend only on ids and the seed."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from typing import get_args

import pytest

from x_instruction.config.refine import LabelStrategy
from x_instruction.corpus.segment import sentences
from x_instruction.errors import CorpusError
from x_instruction.refine.labels import LEVELS, STRATEGIES, Example, balance, examples, key, split
from x_instruction.seed.pairs import Pair

DEFAULT = ("pair", "truncated", "shuffled", "foreign", "hard-negative", "random-negative")
FINNISH = "{0} on täällä hyvin lämmin paikka. {0} on myös siellä. {0} on vanha, ja siitä pidetään."
SWAHILI = "{0} ni mahali pa joto sana hapa. {0} pia iko huko. {0} ni ya zamani, na watu wanaipenda."
TOPICS = ("sauna", "lake", "forest", "boat", "road", "house", "river", "bridge")


def pair(id: str, tag: str = "fi", **values: str) -> Pair:
    text = (FINNISH if tag == "fi" else SWAHILI).format(id)
    fields = {"instruction": f"Tell me about the {id}.", "output": text, "language": tag}
    return Pair(**{"id": id, "instruction_language": "en", "source": "s"} | fields | values)


SEEDS = [pair(id, tag) for tag in ("fi", "sw") for id in TOPICS]
BY_KEY = {key(seed): seed for seed in SEEDS}


def by_builder(made: list[Example]) -> dict[str, list[Example]]:
    return {name: [example for example in made if example.strategy == name] for name in STRATEGIES}


def of(builder: str, seeds: list[Pair] = SEEDS, **options: dict[str, str]) -> list[Example]:
    """All that one builder makes, with the levels that it does not have."""
    return by_builder(examples(seeds, ("pair", "hard-negative", "random-negative", builder), 9, 0, **options))[builder]


def test_recipes_accept_every_strategy() -> None:
    assert set(STRATEGIES) == set(get_args(LabelStrategy))


@pytest.mark.parametrize(
    ("seeds", "names", "level"),
    [
        ([], DEFAULT, "best"),
        (SEEDS, (), "best"),
        (SEEDS, ("truncated", "random-negative"), "best"),
        (SEEDS, ("pair", "random-negative"), "flawed"),
        (SEEDS, ("pair", "weak-instruction", "random-negative"), "flawed"),
        (SEEDS, ("pair", "shuffled"), "worst"),
        # No other document to take an instruction from.
        (SEEDS[:1], DEFAULT, "worst"),
        ([SEEDS[0], SEEDS[0]], DEFAULT, "worst"),
    ],
)
def test_a_level_without_examples_is_reported(seeds: list[Pair], names: tuple[str, ...], level: str) -> None:
    with pytest.raises(CorpusError, match=f"give no pair of the level '{level}': add one of"):
        examples(seeds, names, 1, 0)


def test_pairs_that_a_builder_cannot_make_are_skipped() -> None:
    short = [pair(id, output=f"{id} on.") for id in TOPICS]
    made = examples(short, ("pair", "shuffled", "foreign", "random-negative", "hard-negative"), 5, 0)
    assert Counter(example.strategy for example in made) == {"pair": 8, "hard-negative": 8, "random-negative": 8}


def test_every_seed_gives_each_level_once() -> None:
    made = examples(SEEDS, DEFAULT, 1, 0)
    assert len(made) == 3 * len(SEEDS)
    assert Counter((example.document, example.language, example.level) for example in made) == {
        (seed.id, seed.language, level): 1 for seed in SEEDS for level in LEVELS
    }
    # In sixteen draws, each of four builders occurs almost surely.
    assert len({example.strategy for example in made if example.level == "flawed"}) == 4


@pytest.mark.parametrize(("most", "flawed"), [(2, 2), (3, 3), (4, 4), (99, 4)])
def test_per_level_limits_the_examples(most: int, flawed: int) -> None:
    counts = Counter(
        (example.document, example.language, example.level) for example in examples(SEEDS, DEFAULT, most, 0)
    )
    assert set(counts.values()) == {1, flawed}


def test_the_order_of_pairs_and_strategies_does_not_matter() -> None:
    made = examples(SEEDS, DEFAULT, 1, 7)
    for number in range(3):
        mixed, names = random.Random(number).sample(SEEDS, len(SEEDS)), random.Random(number).sample(DEFAULT, 6)
        assert examples(mixed, names, 1, 7) == made
    assert examples(SEEDS, DEFAULT, 1, 8) != made


def test_ids_are_unique_and_fields_come_from_the_seed() -> None:
    made = examples(SEEDS, DEFAULT, 9, 0)
    assert len({example.id for example in made}) == len(made)
    for example in made:
        seed = BY_KEY[f"{example.document}/{example.language}"]
        assert example.id == f"{key(seed)}/{example.strategy}"
        assert example.level == STRATEGIES[example.strategy].level
        assert example.instruction_language == seed.instruction_language
        assert (example.instruction == seed.asked) != (example.text == seed.output) or example.strategy == "pair"


def test_the_pair_keeps_its_input_in_the_instruction() -> None:
    seeds = [pair("sauna", input="In one line."), pair("lake"), pair("road")]
    (first, _, second) = sorted(of("pair", seeds), key=lambda example: example.document, reverse=True)
    assert first.instruction == "Tell me about the sauna.\nIn one line."
    assert first.text == seeds[0].output
    assert second.instruction == "Tell me about the lake."


def test_responses_are_corrupted() -> None:
    for example in of("truncated"):
        whole = BY_KEY[f"{example.document}/{example.language}"].output
        assert whole.startswith(example.text)
        assert len(example.text) <= 0.4 * len(whole)
    for example in of("shuffled"):
        whole = BY_KEY[f"{example.document}/{example.language}"].output
        assert sorted(example.text) == sorted(whole)
        assert example.text != whole
    for example in of("foreign"):
        pieces = [example.text[start:end] for start, end in sentences(example.text, True)]
        own, others = (
            {
                s.output[a:b]
                for s in SEEDS
                if (s.language == example.language) == same
                for a, b in sentences(s.output, True)
            }
            for same in (True, False)
        )
        assert pieces
        assert any(piece in own for piece in pieces)
        assert any(piece in others for piece in pieces)


def test_foreign_needs_a_second_language() -> None:
    assert of("foreign", SEEDS[:8]) == []


def test_untranslated_responses_are_in_the_language_of_the_instruction() -> None:
    english = [pair("sauna", "en", output="A sauna is a hot room."), pair("other", "en", output="Nothing of it.")]
    native = pair("kota", instruction="Kerro kodasta.", instruction_language="fi")
    made = of("untranslated", [*SEEDS, *english, native])
    assert {(example.document, example.language) for example in made} == {(seed.id, seed.language) for seed in SEEDS}, (
        "neither the English pairs nor the Finnish one are translated"
    )
    for example in made:
        seed = BY_KEY[f"{example.document}/{example.language}"]
        assert example.instruction == seed.asked
        # The same document in English if there is one, else the instruction.
        assert example.text == (english[0].output if seed.id == "sauna" else seed.asked)
        assert example.level == "worst"


def test_near_miss_by_hand() -> None:
    texts = ("Cook red rice.", "Cook red beans.", "Paint a roof.", "Paint a boat.")
    seeds = [pair(id, instruction=text) for id, text in zip("abcd", texts, strict=True)]
    expected = {"a": texts[1], "b": texts[0], "c": texts[3], "d": texts[2]}
    assert {example.document: example.instruction for example in of("hard-negative", seeds)} == expected


def test_random_negatives_are_neither_the_pair_nor_its_nearest() -> None:
    texts = ("Cook red rice.", "Cook red beans.", "Paint a roof.", "cook red rice.")
    seeds = [pair(id, instruction=text) for id, text in zip("abcd", texts, strict=True)]
    made = by_builder(examples(seeds, ("pair", "hard-negative", "random-negative"), 1, 3))["random-negative"]
    # The only one left: the nearest of a and d is b, and a and d ask the same.
    assert {e.document: e.instruction for e in made}["a"] == "Paint a roof."
    assert {e.document: e.instruction for e in made}["d"] == "Paint a roof."
    seen = {
        example.instruction
        for seed in range(40)
        for example in examples(SEEDS, ("pair", "hard-negative", "random-negative"), 1, seed)
        if example.strategy == "random-negative" and example.document == "sauna" and example.language == "fi"
    }
    assert len(seen) == 6


def test_two_documents_give_random_negatives_and_no_hard_negatives() -> None:
    made = examples(SEEDS[:2], ("pair", "truncated", "hard-negative", "random-negative"), 9, 0)
    assert Counter(example.strategy for example in made) == {"pair": 2, "truncated": 2, "random-negative": 2}


def test_translations_of_a_page_are_one_document() -> None:
    seeds = [pair("a", instruction="Cook rice."), pair("a", instruction="Cook red rice."), pair("b"), pair("c")]
    assert {e.instruction for e in of("hard-negative", seeds) if e.document == "a"} == set()
    others = {e.instruction for e in of("random-negative", seeds) if e.document == "a"}
    assert others <= {"Tell me about the b.", "Tell me about the c."}
    assert others


def test_weaker_instructions_are_looked_up_in_the_mapping() -> None:
    written = {
        "sauna/fi": " What is warm? ",
        "lake/fi": "tell me about the LAKE.",
        "forest/fi": " ",
        "sauna/th": "Other?",
    }
    assert [(e.id, e.instruction, e.level) for e in of("weak-instruction", weak={"weak-instruction": written})] == [
        ("sauna/fi/weak-instruction", "What is warm?", "flawed")
    ]


def test_weaker_answers_are_looked_up_in_the_mapping() -> None:
    written = {"sauna/fi": " Sauna on pieni. ", "lake/fi": pair("lake").output, "forest/fi": " "}
    assert [(e.id, e.instruction, e.text, e.level) for e in of("weak-response", weak={"weak-response": written})] == [
        ("sauna/fi/weak-response", "Tell me about the sauna.", "Sauna on pieni.", "flawed")
    ]


def test_balance_equalises_levels() -> None:
    made = examples(SEEDS, DEFAULT, 5, 0)
    even = balance(made, 3)
    assert Counter(example.level for example in even) == dict.fromkeys(LEVELS, 16)
    assert [example for example in made if example in even] == even
    mixed = random.Random(1).sample(made, len(made))
    assert {example.id for example in balance(mixed, 3)} == {example.id for example in even}
    assert {example.id for example in balance(made, 4)} != {example.id for example in even}
    assert balance([], 0) == []
    assert balance([example for example in made if example.level != "worst"], 0) == []


def test_parts_of_a_document_are_split_together() -> None:
    seeds = [dataclasses.replace(pair(f"{id} {part}"), document_id=id) for id in TOPICS for part in ("first", "second")]
    training, development = split(seeds, 0.5, 0)
    assert {seed.document for seed in training}.isdisjoint(seed.document for seed in development)
    for example in examples(seeds, ["pair", "hard-negative", "random-negative"], 1, 0):
        if example.level != "best":
            assert not any(f"the {example.document} {part}" in example.instruction for part in ("first", "second"))


def test_split_keeps_documents_whole() -> None:
    seeds = [pair(f"{id}{number}", tag) for tag in ("fi", "sw") for id in TOPICS for number in range(40)]
    training, development = split(seeds, 0.25, 0)
    assert sorted(training + development, key=key) == sorted(seeds, key=key)
    assert {seed.id for seed in training}.isdisjoint(seed.id for seed in development)
    # Of 320 documents about a quarter: three standard deviations are 23.
    assert abs(len(development) // 2 - 80) <= 23
    apart = {seed.id for seed in development}
    assert [seed for seed in seeds if seed.id in apart] == development
    # Neither order nor what else there is decides, and a larger share holds the smaller one.
    mixed = random.Random(1).sample(seeds, 100)
    assert {seed.id for seed in split(mixed, 0.25, 0)[1]} == {seed.id for seed in mixed if seed.id in apart}
    assert apart < {seed.id for seed in split(seeds, 0.5, 0)[1]}
    assert apart != {seed.id for seed in split(seeds, 0.25, 1)[1]}


@pytest.mark.parametrize(
    ("documents", "share", "expected"),
    [(0, 0.5, 0), (2, 1e-9, 1), (3, 1 - 1e-9, 2), (8, 1e-9, 2), (8, 1 - 1e-9, 6), (8, 0, 0), (8, 1, 8)],
)
def test_split_with_extreme_shares(documents: int, share: float, expected: int) -> None:
    assert len(split(SEEDS[:documents], share, 0)[1]) == expected
