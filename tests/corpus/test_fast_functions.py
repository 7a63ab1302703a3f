"""Functions of the corpus stage that are written for speed, beside plain ones that do the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from x_instruction.corpus import characters, ngrams
from x_instruction.corpus.characters import FIRST_SCRIPT, NEWLINE, SPACE
from x_instruction.corpus.identifiers import UNIT_CONFIDENCE, UNIT_LETTERS, enough_letters
from x_instruction.corpus.identify import script_shares, units
from x_instruction.corpus.segment import STOPS

_STOP = "".join(sorted(STOPS))
_UNIT = re.compile(rf".{{40,160}}?(?:[.!?…]\s+|[{_STOP}]+\s*|\n|$)|.{{1,160}}(?:\s|$)|.{{1,160}}", re.DOTALL)
# Pieces of text: words of several scripts, what ends sentences, and what only looks so.
PIECES = st.sampled_from(
    ["kissa ", "Koira", "the dog ", "w" * 39, "w" * 170, "বাংলা ", "ภาษาไทย", "да", "。", "।", "।। ", "... ", ". ", ".",
     "!", "? \n", "…", "\n", "\n\n", " ", "\u2028", "\x85", "\t", "12", "\0", "\ud800", "e\u0301", "ক\u09be"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=60).map("".join))


@given(TEXTS)
def test_units_are_the_matches_of_one_pattern(text: str) -> None:
    assert units(text) == _UNIT.findall(text)


@given(st.lists(TEXTS, max_size=5), st.sampled_from(["Latn", "Beng", "Thai"]))
def test_shares_of_scripts_are_those_of_each_text(texts: list[str], script: str) -> None:
    known = np.zeros(256, dtype=bool)
    known[characters.script_kinds(script)] = True
    assert script_shares(texts, known) == [plain_shares(text, set(characters.script_kinds(script))) for text in texts]


def plain_shares(text: str, own: set[int]) -> tuple[float, float]:
    kinds = characters.kinds(text).tolist()
    letters = sum(kind >= FIRST_SCRIPT for kind in kinds)
    known = sum(kind in own for kind in kinds)
    if known == letters:
        return (1.0 if letters else 0.0), 0.0
    foreign, sentence = 0, list[int]()
    for place, (kind, character) in enumerate(zip(kinds, text, strict=True)):
        sentence.append(kind)
        is_end = kind == NEWLINE or character in STOPS or (kind == SPACE and place > 0 and text[place - 1] in ".!?…")
        if is_end or place == len(text) - 1:
            others = sum(kind >= FIRST_SCRIPT and kind not in own for kind in sentence)
            foreign += len(sentence) * (others > 0.5 * sum(kind >= FIRST_SCRIPT for kind in sentence))
            sentence = []
    return known / letters, foreign / len(text)


@given(st.lists(TEXTS, max_size=6))
def test_features_are_those_of_the_automaton_read_byte_by_byte(texts: list[str]) -> None:
    encoded = [ngrams.encode(text) for text in texts]
    numbers, features, weights = ngrams.model().features(encoded)
    expected = [
        (number, feature, np.log1p(count, dtype=np.float32))
        for number, text in enumerate(encoded)
        for feature, count in sorted(plain_features(text).items())
    ]
    assert list(zip(numbers.tolist(), features.tolist(), weights.tolist(), strict=True)) == expected


@cache
def automaton() -> Any:
    return LanguageIdentifier.from_model_file(MODEL_FILE)


def plain_features(text: bytes) -> Counter[int]:
    model = automaton()
    state, counts = 0, Counter[int]()
    for byte in text:
        state = model.tk_nextmove[(model.tk_row[state] << 8) + byte]
        if model.tk_output[state] >= 0:
            counts[model.tk_output[state]] += 1
    return counts


def test_a_probability_exceeds_a_limit_as_the_exact_one_does(sample_texts: Callable[[str], list[str]]) -> None:
    columns = ngrams.model().columns(["fi", "en", "es", "id"])
    parts = [unit[:30] for tag in ("fi", "id", "tr") for text in sample_texts(tag) for unit in units(text)][:60]
    texts = [first + second for first in parts for second in ("", "the dog and the cat", "hombre que no ")]
    others = [columns.labels.index(label) for label in ("en", "es", "id")]
    exact = columns.probabilities(texts)[:, others].max(axis=1)
    assert exact.min() < 0.1 < 0.8 < exact.max()
    # Also limits that are equal to a probability, where another order of sums would decide otherwise.
    for limit in (UNIT_CONFIDENCE, *exact[::10].tolist()):
        assert columns.exceed(texts, others, limit) == (exact >= limit).tolist()


@given(TEXTS)
def test_letters_are_counted_in_all_of_a_unit(text: str) -> None:
    assert enough_letters(text) == (sum(map(str.isalpha, text)) >= UNIT_LETTERS)
