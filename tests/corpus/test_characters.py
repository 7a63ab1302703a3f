from __future__ import annotations

import numpy as np
import pytest

from x_instruction.corpus.characters import (
    DIGIT,
    FIRST_SCRIPT,
    MARK,
    NEWLINE,
    OTHER,
    PUNCTUATION,
    SPACE,
    SYMBOL,
    kinds,
    script_kinds,
    spaced,
)  # fmt: skip
from x_instruction.errors import CorpusError
from x_instruction.languages import PAPER_LANGUAGES, language


def test_kinds_of_characters() -> None:
    expected = [SPACE, SPACE, NEWLINE, DIGIT, DIGIT, SYMBOL, PUNCTUATION, PUNCTUATION, MARK, OTHER]
    assert kinds(" \t\n1१€.।\u0301\u200d").tolist() == expected
    assert (kinds("aäক中한あ") >= FIRST_SCRIPT).all()


@pytest.mark.parametrize(
    "tag", [*PAPER_LANGUAGES, "zh-Hans", "zh-Hant", "ja", "ko", "am", "km", "lo", "my", "el", "ka", "or", "si"]
)
def test_a_language_name_is_in_its_own_script(tag: str) -> None:
    found = language(tag)
    letters = kinds(found.native_name)
    assert np.isin(letters[letters >= FIRST_SCRIPT], script_kinds(found.script)).all()


def test_scripts_without_spaces() -> None:
    assert [spaced(language(tag)) for tag in ("th", "km", "lo", "my", "zh-Hans", "ja")] == [False] * 6
    assert [spaced(language(tag)) for tag in ("fi", "bn", "ko", "vi", "am")] == [True] * 5


def test_an_unknown_script_is_told() -> None:
    with pytest.raises(CorpusError, match=r"'Zzzz' has no letters"):
        script_kinds("Zzzz")
