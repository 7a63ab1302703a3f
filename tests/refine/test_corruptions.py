"""Corrupted responses, in scripts with and without spaces and full stops."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.segment import sentences
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import language
from x_instruction.refine.corruptions import SHOWN, disfluent, padded, partly_foreign, shuffled, truncated

FINNISH = "Sauna on lämmin. Vesi on kylmä!\n\nMetsä on vihreä? Lumi on valkea."
SAMPLES = [
    (document.text, spaced)
    for tag, spaced in (("fi", True), ("sw", True), ("hi", True), ("ur", True), ("th", False))
    for document in read(Corpus(source="sample"), language(tag))
    if isinstance(document, Document)
]


def split(text: str, spaced: bool = True) -> list[str]:
    return [text[start:end] for start, end in sentences(text, spaced)]


@pytest.mark.parametrize("text", ["", " ", "\n", "Sauna", "Sauna on lämmin.", "...", "\ud800"])
def test_texts_too_short_to_corrupt_give_none(text: str) -> None:
    assert shuffled(text, Random(0), True) is None
    assert partly_foreign(text, True, FINNISH, True, Random(0)) is None
    assert partly_foreign(FINNISH, True, "", True, Random(0)) is None
    assert disfluent(text, Random(0), True) is None
    assert padded(text, FINNISH, True) is None


@pytest.mark.parametrize(
    "text", ["", " ", "Sauna.", "saunassaonlämmintä" * 9, "Aaa. Bbb. Ccc. Ddd.", "a\nb\nc\nd\ne\nf"]
)
def test_texts_without_a_place_to_truncate_give_none(text: str) -> None:
    assert truncated(text, Random(0), True) is None


def test_equal_sentences_cannot_be_shuffled() -> None:
    assert shuffled("Yksi. Yksi. Yksi.", Random(0), True) is None


def test_sentences_by_hand() -> None:
    assert split(FINNISH) == ["Sauna on lämmin.", "Vesi on kylmä!", "Metsä on vihreä?", "Lumi on valkea."]
    assert split("Otsikko\nLause yksi 3.14 on. “Toinen.” Kolmas") == [
        "Otsikko",
        "Lause yksi 3.14 on.",
        "“Toinen.”",
        "Kolmas",
    ]
    assert split("यह घर है। वह पेड़ है।") == ["यह घर है।", "वह पेड़ है।"]
    assert split("你好。再见。", False) == ["你好。", "再见。"]
    # Thai has no stops: a line ends a sentence, and without lines a space does.
    assert split("ฝนตกหนัก ชาวนาปลูกข้าว", False) == ["ฝนตกหนัก", "ชาวนาปลูกข้าว"]
    assert split("ฝนตกหนัก ชาวนา\nปลูกข้าว", False) == ["ฝนตกหนัก ชาวนา", "ปลูกข้าว"]
    assert split("Sauna on lämmin") == ["Sauna on lämmin"]


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_by_hand(seed: int) -> None:
    made = shuffled(FINNISH, Random(seed), True)
    assert made is not None
    assert sorted(split(made)) == sorted(split(FINNISH))
    assert split(made)[0] != "Sauna on lämmin."
    # The empty line stays behind the second sentence.
    assert [len(split(part)) for part in made.split("\n\n")] == [2, 2]


def test_two_sentences_are_swapped() -> None:
    assert shuffled("Yksi on. Kaksi on.", Random(0), True) == "Kaksi on. Yksi on."


def test_foreign_by_hand() -> None:
    found = {
        partly_foreign("A yksi. B kaksi.", True, "Moja ni. Mbili ni. Tatu ni.", True, Random(n)) for n in range(30)
    }
    assert found == {"Moja ni. B kaksi.", "A yksi. Moja ni."}
    found = {partly_foreign(FINNISH, True, "Moja ni. Mbili ni. Tatu ni.", True, Random(n)) for n in range(60)}
    assert found == {
        "Moja ni. Vesi on kylmä!\n\nMetsä on vihreä? Lumi on valkea.",
        "Moja ni. Mbili ni.\n\nMetsä on vihreä? Lumi on valkea.",
        "Sauna on lämmin. Moja ni.\n\nMetsä on vihreä? Lumi on valkea.",
        "Sauna on lämmin. Moja ni.\n\nMbili ni. Lumi on valkea.",
    }
    # A first sentence longer than what is shown would hide the flaw behind it.
    long = "sana " * 100 + "loppu. Toinen."
    assert {partly_foreign(long, True, "Moja.", True, Random(n)) for n in range(20)} == {"Moja. Toinen."}


def test_places_to_truncate_by_hand() -> None:
    # 40 characters: 4 to 16 of them stay, and the space behind "kaksi." is between sentences.
    text = "yksi kaksi. kolme neljä viisi kuusi nyt."
    assert len(text) == 40
    assert {truncated(text, Random(n), True) for n in range(50)} == {"yksi"}
    text = "yksi kaksi kolme neljä viisi kuusi nyt."
    assert {truncated(text, Random(n), True) for n in range(50)} == {"yksi", "yksi kaksi"}


@given(st.sampled_from(SAMPLES), st.integers(0, 10_000))
def test_a_truncated_response_ends_inside_a_sentence(sample: tuple[str, bool], seed: int) -> None:
    text, spaced = sample
    made = truncated(text, Random(seed), spaced)
    assert made is not None
    assert text.startswith(made)
    assert 0.09 * min(len(text), 2 * SHOWN) <= len(made) <= min(0.4 * len(text), SHOWN)
    assert not re.search(r"[.!?।۔]$", made)
    assert text[len(made)] != "\n"
    assert text[len(made)].isspace() == spaced
    # The sentence continues after the break.
    assert any(start < len(made) < end for start, end in sentences(text, spaced))


def test_a_long_response_is_truncated_within_the_shown_part() -> None:
    text = "sana " * 4_000
    lengths = {len(truncated(text, Random(n), True) or "") for n in range(300)}
    assert min(lengths) >= SHOWN // 2
    assert max(lengths) <= SHOWN


def test_a_letter_is_not_separated_from_its_mark() -> None:
    text = "กิ" * 40
    assert {len(truncated(text, Random(n), False) or "") % 2 for n in range(100)} == {0}


def test_a_disfluent_text_reorders_and_drops_words() -> None:
    text = "yksi kaksi kolme neljä viisi\n\nkuusi seitsemän kahdeksan yhdeksän kymmenen"
    changed = disfluent(text, Random(0), True)
    assert changed is not None
    words = changed.split()
    assert (words[0], words[-1]) == ("yksi", "kymmenen")
    assert set(words) < set(text.split())
    assert len(words) == 9
    assert "\n\n" in changed
    assert words != [word for word in text.split() if word in words]
    assert disfluent("yksi kaksi kolme neljä viisi kuusi seitsemän", Random(0), True) is None


@pytest.mark.parametrize(("text", "spaced"), SAMPLES)
def test_real_texts_are_made_disfluent_in_every_script(text: str, spaced: bool) -> None:
    changed = disfluent(text, Random(0), spaced)
    assert changed is not None
    assert changed != text
    assert 0.75 * len(text) < len(changed) <= len(text)


def test_a_padded_text_is_longer_and_half_off_topic() -> None:
    other = "Kissa nukkuu matolla. Koira juoksee pihalla. Lintu laulaa puussa."
    changed = padded(FINNISH, other, True)
    assert (
        changed
        == "Sauna on lämmin. Vesi on kylmä!\nKissa nukkuu matolla.\nKoira juoksee pihalla.\nLintu laulaa puussa."
    )
    assert len(changed) >= 1.2 * len(FINNISH)
    assert padded(FINNISH, "Kissa.", True) is None
