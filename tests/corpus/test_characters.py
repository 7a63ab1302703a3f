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
from x_instruction.corpus.terminals import SENTENCE_TERMINAL, TERMINAL_PUNCTUATION
from x_instruction.errors import CorpusError
from x_instruction.languages import PAPER_LANGUAGES, language


def test_characters_are_classified() -> None:
    expected = [SPACE, SPACE, NEWLINE, DIGIT, DIGIT, SYMBOL, PUNCTUATION, PUNCTUATION, MARK, OTHER]
    assert kinds(" \t\n1१€.।\u0301\u200d").tolist() == expected
    assert (kinds("aäক中한あ") >= FIRST_SCRIPT).all()


@pytest.mark.parametrize(
    "tag", [*PAPER_LANGUAGES, "zh-Hans", "zh-Hant", "ja", "ko", "am", "km", "lo", "my", "el", "ka", "or", "si"]
)
def test_every_native_name_is_in_the_script_of_the_language(tag: str) -> None:
    found = language(tag)
    letters = kinds(found.native_name)
    assert np.isin(letters[letters >= FIRST_SCRIPT], script_kinds(found.script)).all()


def test_scripts_without_spaces() -> None:
    assert [spaced(language(tag)) for tag in ("th", "km", "lo", "my", "zh-Hans", "ja")] == [False] * 6
    assert [spaced(language(tag)) for tag in ("fi", "bn", "ko", "vi", "am")] == [True] * 5


def test_an_unknown_script_is_reported() -> None:
    with pytest.raises(CorpusError, match=r"'Zzzz' has no letters"):
        script_kinds("Zzzz")


@pytest.mark.parametrize(
    "signs", ["་།༔༄", "፡።፣፤", "។៕៖", "၊။", "՞՝։", "׳״־", "،؛؟۔٪", "।॥॰", "᠂᠃", "꧈꧉", "、。・「」《》", "„“‘—…·¿¡"]
)
def test_punctuation_of_every_script_is_not_a_symbol(signs: str) -> None:
    assert set(kinds(signs).tolist()) == {PUNCTUATION}


def test_characters_without_a_script_are_symbols() -> None:
    assert set(kinds("•†§¶※#@*&_~^+=|[]{}€").tolist()) == {SYMBOL}


def test_letters_of_several_scripts_are_marks_and_ideographic_letters_are_han() -> None:
    assert kinds("ʻʼ").tolist() == [MARK, MARK]
    assert kinds("々")[0] == kinds("中")[0]


def test_tables_agree_with_unicode() -> None:
    regex = pytest.importorskip("regex")
    every = "".join(map(chr, range(0x20000)))
    assert set(regex.findall(r"\p{Sentence_Terminal}", every)) == SENTENCE_TERMINAL
    assert set(regex.findall(r"\p{Terminal_Punctuation}", every)) == TERMINAL_PUNCTUATION
