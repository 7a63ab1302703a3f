import random
from itertools import islice

import pytest

from x_instruction.corpus.words import words
from x_instruction.diversify.verbs import BLOCK, Words, verb_nouns


@pytest.mark.parametrize(
    ("instruction", "pair"),
    [
        ("Write a short poem about the rainy season.", ("write", "poem")),
        ("What is the capital of Kenya?", ("what", "capital")),
        ("What’s the best way to plant maize?", ("what", "way")),
        ("How do I bake bread at home?", ("how", "bread")),
        ("Can you help me write an essay on malaria?", ("write", "essay")),
        ("Give me three tips for saving money.", ("give", "tips")),
        ("In which year was the school built?", ("which", "year")),
        ("Write a detailed report on the use of water.", ("write", "report")),
        ("The use of water: explain its history", ("explain", "history")),
        ("Please describe, in detail, Kenya's economy.", ("describe", "kenya")),
        ("List 5 healthy foods", ("list", "foods")),
        ("How does a really big family live?", ("how", "family")),
        ("Hello!", None),
        ("Write", None),
        ("", None),
        ("Mji mkuu wa Kenya ni upi?", None),
    ],
)
def test_verb_and_noun_are_found(instruction, pair):
    assert list(verb_nouns([instruction])) == [pair]


def test_instructions_are_apart():
    """A verb, an article or a noun of one says nothing of another, and neither does a block of them."""
    cases = ["Write a", "poem", "", "What", "Give me the", "report on my", "", "Name two rivers", "list"]
    expected = [None, None, None, None, None, None, None, ("name", "rivers"), None]
    assert list(verb_nouns(cases)) == expected
    many = cases * (BLOCK // 4)
    assert list(verb_nouns(many)) == expected * (BLOCK // 4)


def test_words_are_those_of_the_text_whatever_the_white_space():
    spaces = [chr(code) for code in range(0x110000) if chr(code).isspace()]
    chance = random.Random(0)
    parts = ["Write", "“a”", "STRASSE", "maßen,", "中", "…", "’", "কেন", *spaces, *[" "] * 30]
    texts = ["".join(chance.choices(parts, k=chance.randrange(12))) for _ in range(2_000)]
    split = Words()
    numbers, lengths = split.split(texts)
    found = iter([split.words[number] for number in numbers])
    assert [list(islice(found, length)) for length in lengths.tolist()] == [words(text) for text in texts]
    assert next(found, None) is None


def test_the_table_is_ordered_by_count():
    words = Words()
    instructions = ["Write a poem.", "Write a story.", "Write a poem!", "Name two rivers.", "List rivers.", "Hello"]
    pairs = words.pairs(*words.split(instructions))
    pairs = pairs[pairs[:, 0] >= 0]
    assert words.most_frequent(pairs) == [
        ("write", 3, [("poem", 2), ("story", 1)]),
        ("list", 1, [("rivers", 1)]),
        ("name", 1, [("rivers", 1)]),
    ]
    assert words.most_frequent(pairs, verbs=1, nouns=1) == [("write", 3, [("poem", 2)])]
    assert words.most_frequent(pairs[:0]) == []
