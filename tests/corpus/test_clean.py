from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.corpus.characters import BROKEN, kinds
from x_instruction.corpus.clean import broken, normalise

# Characters on which normalisation could trip: joiners, marks, spaces, controls, surrogates, letters of five scripts.
TRICKY = "a\u00e9e\u0301 \t\n\r\u0085\u2028\u00a0\u2000\u3000\u200b\u200c\u200d\ufeff\u00ad\x00\x07\x1b\ud800\udfff"
TRICKY += "\u0915\u094d\u0937\u093e\u09be\u09c7\u0bcd\u0627\u0644\u0e01\u0e33\U0001f469\ufe0f\u0300\u0345\u0f71\u0f72"


@given(st.one_of(st.text(), st.text(alphabet=TRICKY, max_size=60)))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    # The kept text can be stored.
    assert once.encode("utf-8").decode("utf-8") == once
    assert "\x00" not in once
    assert "\n\n\n" not in once


@given(st.text(alphabet="aä ক্ষমி.\n", max_size=80))
def test_normalising_keeps_every_visible_character(text: str) -> None:
    assert "".join(normalise(text).split()) == unicodedata.normalize("NFC", "".join(text.split())) or " " in text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\x00b\x07c\x1b", "abc"),
        ("\ufeffsalamu", "salamu"),
        ("so\u00adft\u200bspace", "softspace"),
        ("សេរី\u200b\u200bភាព \u200bមាន\u200b", "សេរី\u200bភាព មាន"),
        ("അവന്\u200d പറഞ്ഞു", "അവൻ പറഞ്ഞു"),
        ("\u202eabc\u202c \u2067x\u2069", "abc x"),
        ("a\r\nb\rc\u2028d\x85e", "a\nb\nc\nd\ne"),
        ("  a \t b\u00a0\u3000c  \n  d ", "a b c\nd"),
        ("a\n\n \n\n\nb", "a\n\nb"),
        ("e\u0301", "é"),
        ("\ud800x", "\ufffdx"),
        ("no\u200djoin\u200cer", "nojoiner"),
        # Joiners that spelling needs: Hindi, Bengali, Sinhala, Persian; and a family of emoji.
        ("क्\u200dष क्\u200cष", "क्\u200dष क्\u200cष"),
        ("র\u200d্য", "র\u200d্য"),
        ("ශ්\u200dරී", "ශ්\u200dරී"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f469\u200d\U0001f467"),
        ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
        ("क\u200d\u200d\u200dष", "क\u200dष"),
    ],
)
def test_junk_is_removed_and_spelling_is_kept(before: str, after: str) -> None:
    assert normalise(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "Ã¤Ã¶Ã¥ on rikki",
        "à¤¹à¤¿à¤¨à¥à¤¦à¥€",
        "à®¤à®®à®¿à®´à¯",
        "Ø§Ø±Ø¯Ùˆ",
        "Tiáº¿ng Viá»‡t",
        "ÄŸÃ¼zel â€œsÃ¶zâ€",
        "ा हिन्दी ि",
        "็น้ ่า",
    ],
)
def test_mojibake_and_orphan_marks_are_counted(text: str) -> None:
    assert broken(text) >= 2


@pytest.mark.parametrize(
    "text",
    [
        "«Está», dijo. À côté, l’île “ô” …",
        "Đã Ăn Ơn Ước Ổn ÂM NHẠC TÀI LIỆU",
        "Åland, Ähtäri, Öljy: ”näin” – Ø",
        "हिन्दी में लिखा गया",
        "ไม่มีปัญหาอะไรเลย",
        "இது தமிழ் உரை",
        "یہ اردو ہے۔",
    ],
)
def test_valid_text_is_not_called_broken(text: str) -> None:
    assert broken(text) == 0


def test_the_sample_corpus_is_not_called_broken(sample_texts) -> None:  # type: ignore[no-untyped-def]
    for tag in ("bn", "fi", "hi", "id", "sw", "ta", "th", "tr", "ur", "vi"):
        for text in sample_texts(tag):
            assert broken(text) == 0
            assert not (kinds(text) == BROKEN).any()


def test_unassigned_and_private_code_points_are_broken() -> None:
    assert (kinds("\ufffd\ue000\U000f0000\U0010ffff\u0378\ud800") == BROKEN).all()
    assert not (kinds("aä\u0301ñকक\n 1€،") == BROKEN).any()


def test_long_input_takes_linear_time() -> None:
    for text in ("\u200d" * 1_000_000, "a\u0301" * 500_000, " \n" * 500_000, "\u0915\u200d" * 500_000, "Ã" * 1_000_000):
        assert len(normalise(text)) <= len(text)
        broken(text)
