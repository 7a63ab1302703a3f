"""Functions of the corpus stage that are written for speed, beside plain ones that do the same."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from x_instruction.config.corpus import Filters
from x_instruction.corpus import characters, clean, filters, markup, ngrams, pii, segment
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
    encoded = ngrams.encode(texts)
    numbers, features, weights = ngrams.model().features(encoded)
    expected = [
        (number, feature, np.log1p(count, dtype=np.float32))
        for number, text in enumerate(encoded)
        for feature, count in sorted(plain_features(text).items())
    ]
    assert list(zip(numbers.tolist(), features.tolist(), weights.tolist(), strict=True)) == expected


def test_features_of_many_texts_are_those_of_each(sample_texts: Callable[[str], list[str]]) -> None:
    """A large batch has longer strips."""
    model = ngrams.model()
    texts = ngrams.encode([text for tag in ("fi", "th", "bn") for text in sample_texts(tag)])
    alone = [model.features([text]) for text in texts]
    many = texts * (1 + 2 * ngrams.STRIP**2 // sum(map(len, texts)))
    numbers, features, weights = model.features(many)
    for number in range(0, len(many), 7):
        _, expected, counts = alone[number % len(texts)]
        assert np.array_equal(features[numbers == number], expected)
        assert np.array_equal(weights[numbers == number], counts)


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


# Signs of several scripts that compose, or that join or begin words, and what is around them.
SIGNS = (
    "a \u00e9\n\u0301\u093c\u0995\u09be\u09c7"
    "\u09d7\u0b47\u0b3e\u0bc6\u0bc7\u0bbe\u0b92\u0bd7\u0cbf\u0cc6\u0cc2\u0cd5\u0cca"
    "\u0d46\u0d3e\u0dd9\u0dcf\u0dca\u1025\u102e\u0915"
    "\u094d\u200c\u200d\ufe0f\u2764\U0001f469\u09df\u09cb\u0e01\u0e31\u0e34"
)


@given(st.text(alphabet=SIGNS, max_size=30))
def test_normal_form_is_that_of_unicode(text: str) -> None:
    assert clean.is_composed(text) == unicodedata.is_normalized("NFC", text)
    assert clean.compose(text) == unicodedata.normalize("NFC", text)


def test_no_half_of_a_vowel_sign_is_the_first_and_the_second_one() -> None:
    wholes = [whole for wholes in clean._halves().values() for whole in wholes]
    assert "\u09c7\u09be" in wholes
    assert {whole[0] for whole in wholes}.isdisjoint(clean._halves())


_STRAY = re.compile(f"(?<![{clean._JOINING}{clean._PICTURES}])[\u200c\u200d]+|(?<=[\u200c\u200d])[\u200c\u200d]+")


@given(st.text(alphabet=SIGNS, max_size=30))
def test_stray_joiners_are_those_that_follow_no_letter_of_their_scripts(text: str) -> None:
    assert clean._STRAY_JOINER.sub("", text) == _STRAY.sub("", text)


@given(st.text(alphabet=SIGNS + "\u00c3\u00a9\u00e2\u20ac\u2122\u17b6\u0eb1", max_size=30))
def test_broken_characters_are_orphan_marks_and_mojibake(text: str) -> None:
    signs = clean._orphan_mark().pattern.removeprefix("[ \n]")
    mark = re.compile(f"(?:(?<=[ \n])|^){signs}")
    expected = len(mark.findall(text)) + sum(map(len, clean._MOJIBAKE.findall(text)))
    assert clean.broken(text) == (0 if text.isascii() else expected)


_STOP_RUN = re.compile(rf"[{segment._ANY_STOP}]+[\"'»”’)\]」』”）]*")
_LINE_RUN = re.compile(r"\n+")


@given(st.one_of(TEXTS, st.text(alphabet='aক .!?。።፡\U00011c41\U0001f469\n"1', max_size=30)))
def test_ends_of_sentences_are_runs_of_stops(text: str) -> None:
    stops = {match.end() for match in _STOP_RUN.finditer(text) if segment._is_end(text, match)}
    assert segment.ends(text) == stops | {place for match in _LINE_RUN.finditer(text) for place in match.span()}


MARKS = st.sampled_from(
    ["#a1", "@user", "[URL]", "[USERNAME]", "https://", "www.a", ":)", ";-(", ": )", "☀", "😀", "\u200d", "❶", "aaaa",
     "555", "5555555", "!!!", "!?!?", "..", "...", "....", "-----", "word ", "ä", "\n", "(a)", ":", "กกกก", "$"]
)  # fmt: skip


@given(st.lists(MARKS, max_size=40).map("".join), st.sampled_from([0.0, 0.005, 0.05, 0.2]))
def test_marks_of_posts_are_those_of_the_patterns(text: str, limit: float) -> None:
    view = filters.View(text, True, ())
    count = sum(1 for _ in filters._SOCIAL.finditer(text)) + filters.REPLACED * len(filters._REPLACED.findall(text))
    assert filters._most_marks(view) >= count
    has_signs = characters.SYMBOL in view.kinds or any(sign in text for sign in filters._SOCIAL_SIGNS)
    is_searched = has_signs or any(four == four[0] * 4 for four in (text[i : i + 4] for i in range(len(text) - 3)))
    reason = filters.social_marks(view, Filters(max_social_marks=limit))
    assert (reason is not None) == bool(is_searched and count > limit * len(text))
    assert reason is None or reason.detail.startswith(f"marks of posts: {count} of {len(text)},")


@given(
    st.lists(st.sampled_from(["a ", "b ", "c\n", "ab cd ef gh ij ", "กข", "กขคงจ" * 6, "ฉ"]), max_size=40).map("".join),
    st.sampled_from([("Latn", True), ("Thai", False), ("Hans", False)]),
    st.sampled_from([0.0, 0.2, 0.6]),
)
def test_repeated_ngrams_are_those_of_a_set(text: str, script: tuple[str, bool], limit: float) -> None:
    name, spaced = script
    size = 5 if spaced else 15 if name == "Hans" else 25
    parts: Sequence[str] = text.split() if spaced else text
    ngrams = [tuple(parts[i : i + size]) for i in range(len(parts) - size + 1)]
    repeated = len(ngrams) - len(set(ngrams))
    reason = filters.repeated_ngrams(filters.View(text, spaced, (), name), Filters(max_repeated_ngrams=limit))
    assert (reason is not None) == (repeated > limit * len(ngrams))
    assert reason is None or reason.detail.startswith(f"repeated n-grams: {repeated} of {len(ngrams)},")


@pytest.mark.parametrize("size", [15, 25])
def test_samples_of_ngrams_are_repeated_where_these_are(size: int, sample_texts: Callable[[str], list[str]]) -> None:
    for text in [*sample_texts("th"), *sample_texts("fi"), "ab" * 40, "x" * size]:
        samples = filters._samples(characters.code_points(text), size).tolist()
        ngrams = [text[i : i + size] for i in range(len(text) - size + 1)]
        assert len(samples) == len(ngrams)
        assert len(set(zip(ngrams, samples, strict=True))) == len(set(ngrams))
    # In real text, few others are.
    text = "".join(sample_texts("th"))
    repeated = len(text) - size + 1 - filters._different(filters._samples(characters.code_points(text), size))
    assert repeated < 0.1 * len(text)


@pytest.mark.parametrize(
    ("whole", "part", "alphabet"),
    [
        (pii._IPV4, pii._PART_OF_IPV4, "0129. a"),
        (pii._IPV6, pii._PART_OF_IPV6, "09afAF: g"),
        (pii._IBAN, pii._PART_OF_IBAN, "AZ09 a٣"),
        (pii._PHONE, pii._PART_OF_PHONE, "0129+ .()/-৩"),
        (markup._FOOTNOTE, markup._NOTE, "a[12] .\n"),
        (markup._MARKS, re.compile("|".join(map(re.escape, markup._MARK_SIGNS))), "<a/> =\"'](){}`;\n"),
    ],
)
@given(data=st.data())
def test_a_pattern_is_found_only_where_its_part_is(
    whole: re.Pattern[str], part: re.Pattern[str], alphabet: str, data: st.DataObject
) -> None:
    text = data.draw(st.one_of(st.from_regex(whole), st.text(alphabet, max_size=40)))
    assert whole.search(text) is None or part.search(text)
