import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from x_instruction.corpus.words import words
from x_instruction.diversify.measures import distinct_ngrams, entropy, mean_cosine


def test_words_are_lower_case_without_surrounding_punctuation():
    assert words("“Don't panic!” — wrote (Douglas) Adams, 1979…") == [
        "don't",
        "panic",
        "wrote",
        "douglas",
        "adams",
        "1979",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("भारत की राजधानी क्या है?", ["भारत", "की", "राजधानी", "क्या", "है"]),
        ("কেন বৃষ্টি হয়।", ["কেন", "বৃষ্টি", "হয়"]),
        ("ทำไมฝนตก", ["ทำไมฝนตก"]),
    ],
)
def test_vowel_signs_do_not_cut_words(text, expected):
    assert words(text) == expected


def distinct(texts, n):
    words = np.array([word for text in texts for word in text], int)
    return distinct_ngrams(words, np.array([*map(len, texts)], int), n)[-1]


def test_distinct_n_matches_a_worked_example():
    texts = [[0, 1, 0, 1], [0, 1], [], [2]]
    assert distinct(texts, 1) == 3 / 7
    # 01 10 01, 01: two different of four; no n-gram crosses from one text into the next.
    assert distinct(texts, 2) == 2 / 4
    assert distinct(texts, 3) == 2 / 2
    assert distinct(texts, 5) is None
    assert distinct([], 1) is None


@pytest.mark.parametrize("most", [3, 2**33])
def test_distinct_is_a_share_of_a_set(most):
    chance = random.Random(0)
    some = [chance.randrange(most) for _ in range(4)]
    texts = [chance.choices(some, k=chance.randrange(9)) for _ in range(60)]
    for n in range(1, 6):
        grams = [tuple(text[at : at + n]) for text in texts for at in range(len(text) - n + 1)]
        assert distinct(texts, n) == len(set(grams)) / len(grams)


def test_entropy_matches_a_worked_example():
    assert entropy([4, 4, 4]) == 0
    assert math.copysign(1, entropy([4])) == 1
    assert entropy([0, 1, 2, 3]) == pytest.approx(math.log(4))
    assert entropy([0, 0, 1]) == pytest.approx(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))


def naive(rows):
    lengths = [math.hypot(*row) for row in rows]
    cosines = [
        float(np.dot(rows[i], rows[j])) / (lengths[i] * lengths[j]) if lengths[i] and lengths[j] else 0.0
        for i, j in combinations(range(len(rows)), 2)
    ]
    return sum(cosines) / len(cosines)


numbers = st.one_of(st.just(0.0), st.floats(0.01, 100), st.floats(-100, -0.01))


@given(arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 5)), elements=numbers))
def test_mean_cosine_equals_the_mean_over_all_pairs(rows):
    assert mean_cosine(rows) == pytest.approx(naive(rows), abs=1e-9)


def test_mean_cosine_does_not_depend_on_blocks(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(101, 7)).astype(np.float32)
    whole = mean_cosine(rows)
    monkeypatch.setattr("x_instruction.diversify.measures._BLOCK", 10)
    assert mean_cosine(rows) == pytest.approx(whole, abs=1e-12)
    assert whole == pytest.approx(naive(rows.astype(np.float64)), abs=1e-9)


def test_cosine_of_few_rows():
    assert mean_cosine(np.ones((1, 3))) is None
    assert mean_cosine(np.empty((0, 3))) is None
    assert mean_cosine(np.array([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-1)
