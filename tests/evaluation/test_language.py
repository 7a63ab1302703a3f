"""The language of answers, by real sentences and by hand."""

from __future__ import annotations

import pytest

from x_instruction.errors import RecipeError
from x_instruction.evaluation.language import (
    AnswerLanguage,
    answer_language,
    answer_languages,
    gated,
    gated_preference,
    language_checks,
    language_metrics,
)

FINNISH = "Sade alkoi aamulla, ja lapset juoksivat kotiin ennen kuin ukkonen saapui järven yli."
THAI = "ฝนตกหนักในเดือนมีนาคมและเมษายน ชาวนาปลูกข้าวโพด"
ENGLISH = "The rain began in the morning, and the children ran home before the storm."
RIGHT = AnswerLanguage(True, None, "fi", 1.0, 0.0)
WRONG = AnswerLanguage(False, "wrong_language", "en", 1.0, 0.0)
MIXED = AnswerLanguage(False, "mixed_language", "fi", 1.0, 0.5)
SHORT = AnswerLanguage(False, "too_short", "und", 1.0, 0.0)
EMPTY = AnswerLanguage(False, "empty", "und", 0.0, 0.0)


@pytest.mark.parametrize(
    ("answer", "tag", "reason"),
    [
        (FINNISH, "fi", None),
        (FINNISH, "sw", "wrong_language"),
        (ENGLISH, "fi", "wrong_language"),
        (ENGLISH, "en", None),
        (ENGLISH, "th", "wrong_script"),
        (f"{FINNISH} But then the storm passed by, and all of the children went out to play.", "fi", "mixed_language"),
        (f"{FINNISH}\n\n```python\nfor child in children:\n    print('ran home before the storm')\n```", "fi", None),
        (f"```\n{FINNISH}", "fi", "too_short"),
        ("Nairobi", "sw", "too_short"),
        ("Nairobi", "th", "wrong_script"),
        ("42", "th", "too_short"),
        ("Helsinki on", "fi", "unsure"),
        (THAI, "th", None),
        ("", "fi", "empty"),
        (" \n", "en", "empty"),
        ("12 345.", "fi", "too_short"),
        ("ok", "fi", "too_short"),
        ("the", "en", "too_short"),
        ("水稻生长在水里。", "zh", None),
        ("aaaaaaaaaaaaaaaaaaaa", "fi", "wrong_language"),
    ],
)
def test_the_language_of_an_answer_is_judged(answer: str, tag: str, reason: str | None) -> None:
    found = answer_language(answer, tag)
    assert (found.right, found.reason) == (reason is None, reason)


def test_script_and_switching_are_measured() -> None:
    # 16 Thai sentence marks aside: the letters of the English sentence against those of the Thai one.
    text = f"{THAI}\n{ENGLISH}"
    found = answer_language(text, "th")
    latin, thai = sum(map(str.isalpha, ENGLISH)), sum(map(str.isalpha, THAI))
    assert found.script_share == pytest.approx(thai / (thai + latin), abs=0.1)
    assert answer_language(THAI, "th").script_share == 1.0
    half = answer_language(f"{FINNISH} But then the storm passed by, and all of the children went out to play.", "fi")
    assert 0.4 < half.switched < 0.6
    english = answer_language("The library opens at nine and closes at five, except on Sundays.", "th")
    assert (english.reason, english.switched) == ("wrong_script", 1.0)
    assert half.script_share == 1.0


def test_languages_are_judged_separately_in_order() -> None:
    found = answer_languages([FINNISH, THAI, THAI, FINNISH], ["fi", "fi", "th", "th"], language_checks(["fi", "th"]))
    assert [answer.right for answer in found] == [True, False, True, False]


def test_an_unidentifiable_language_is_refused() -> None:
    with pytest.raises(RecipeError, match="py3langid does not know Bambara"):
        answer_language("x", "bm")


def test_scores_count_only_in_the_right_language() -> None:
    assert gated([7.0, 9.0, 8.0, 2.0], [RIGHT, WRONG, MIXED, EMPTY]) == [7.0, 0.0, 0.0, 0.0]
    assert gated([9.0], [WRONG], worst=1.0) == [1.0]


@pytest.mark.parametrize(
    ("preference", "first", "second", "gated_to"),
    [
        (1.0, RIGHT, RIGHT, 1.0),
        (0.3, RIGHT, RIGHT, 0.3),
        (0.0, RIGHT, WRONG, 1.0),
        (1.0, MIXED, RIGHT, 0.0),
        (1.0, WRONG, EMPTY, 0.5),
        (0.0, RIGHT, SHORT, 0.0),
        (0.0, SHORT, WRONG, 1.0),
        (1.0, EMPTY, SHORT, 0.0),
    ],
)
def test_a_preference_is_gated_by_language(
    preference: float, first: AnswerLanguage, second: AnswerLanguage, gated_to: float
) -> None:
    assert gated_preference(preference, first, second) == gated_to


def test_shares_by_hand() -> None:
    found = language_metrics([RIGHT, RIGHT, MIXED, EMPTY])
    assert (found.answers, found.identified, found.right, found.script_share) == (4, 3, 0.5, 1.0)
    # Of the three that have letters, one is half in another language.
    assert found.switched == pytest.approx(1 / 6)
    assert found.reasons == {"mixed_language": 1, "empty": 1}
    low, high = found.right_interval
    assert 0.0 <= low < 0.5 < high <= 1.0
    assert language_metrics([EMPTY]).script_share != language_metrics([EMPTY]).script_share  # not a number
    # Three equal answers to each question say no more than one.
    once, thrice = language_metrics([RIGHT, MIXED]), language_metrics([RIGHT] * 3 + [MIXED] * 3, ["a"] * 3 + ["b"] * 3)
    assert (once.right, once.right_interval) == (thrice.right, thrice.right_interval)
    with pytest.raises(ValueError, match="no answers"):
        language_metrics([])
