"""chrF by hand, and against figures that sacreBLEU 2.6.0 gave (``sentence_chrf``, divided by 100)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.seed.chrf import chrf


@pytest.mark.parametrize("texts", [("", ""), ("", "abc"), ("abc", ""), (" \n", "abc"), ("abc", "xyz")])
def test_nothing_in_common_is_zero(texts: tuple[str, str]) -> None:
    assert chrf(*texts) == 0.0


@pytest.mark.parametrize(
    ("hypothesis", "reference", "order", "beta", "expected"),
    [
        # ab, abc: one-grams 2 of 2 and 2 of 3, two-grams 1 of 1 and 1 of 2; precision 1, recall 7/12.
        ("ab", "abc", 6, 2.0, 5 * (7 / 12) / (4 + 7 / 12)),
        ("abc", "ab", 6, 2.0, 5 * (7 / 12) / (4 * 7 / 12 + 1)),
        ("ab", "abc", 6, 1.0, 2 * (7 / 12) / (1 + 7 / 12)),
        ("ab", "abc", 1, 2.0, 5 * (2 / 3) / (4 + 2 / 3)),
        # a counts once, however often it is written: precision 1/3 and 0/2.
        ("aaa", "ab", 2, 1.0, 2 * (1 / 6) * (1 / 4) / (1 / 6 + 1 / 4)),
        # Space is no character, and case is one.
        ("a b\nc", "abc", 6, 2.0, 1.0),
        ("A", "a", 6, 2.0, 0.0),
        ("ฝนตก", "ฝนตก", 6, 2.0, 1.0),
    ],
)
def test_scores_by_hand(hypothesis: str, reference: str, order: int, beta: float, expected: float) -> None:
    assert chrf(hypothesis, reference, order, beta) == pytest.approx(expected)


CASES = [
    ("The rain began in the morning.", "Rain started this morning."),
    ("Children walk a long way to school every day.", "Every day, children walk far to school."),
    ("rice", "Cook the rice twice and wash it."),
    ("ฝนตกหนักในเดือนมีนาคม", "ฝนตกในเดือนมีนาคมและเมษายน"),
    ("Mvua hunyesha kwa wingi.", "Mvua ilinyesha sana."),
    ("a", "a"),
    ("ab", "ba"),
]


FIGURES = [0.352395245, 0.593711349, 0.122146854, 0.577864838, 0.357710583, 1.0, 0.5]


@pytest.mark.parametrize(("texts", "expected"), list(zip(CASES, FIGURES, strict=True)))
def test_scores_equal_sacrebleu(texts: tuple[str, str], expected: float) -> None:
    assert chrf(*texts) == pytest.approx(expected, abs=5e-7)


@given(st.text(), st.text())
def test_scores_are_between_0_and_1(one: str, other: str) -> None:
    assert 0.0 <= chrf(one, other) <= 1.0 + 1e-12
    assert chrf(one, one) == pytest.approx(float(bool(one.split())))
    assert chrf(one, other, beta=1.0) == pytest.approx(chrf(other, one, beta=1.0))
