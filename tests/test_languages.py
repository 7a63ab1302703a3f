"""Tags, codes and names of a language give that language, and other texts are refused."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.errors import RecipeError, UnknownLanguage
from x_instruction.languages import PAPER_LANGUAGES, SPECIFIC, language

# tag, code of the corpora, three letters, macrolanguage or the same, English name
TEN = [
    ("fi", "fin_Latn", "fin", "fin", "Finnish"),
    ("id", "ind_Latn", "ind", "ind", "Indonesian"),
    ("th", "tha_Thai", "tha", "tha", "Thai"),
    ("tr", "tur_Latn", "tur", "tur", "Turkish"),
    ("vi", "vie_Latn", "vie", "vie", "Vietnamese"),
    ("bn", "ben_Beng", "ben", "ben", "Bangla"),
    ("hi", "hin_Deva", "hin", "hin", "Hindi"),
    ("sw", "swh_Latn", "swh", "swa", "Swahili"),
    ("ta", "tam_Taml", "tam", "tam", "Tamil"),
    ("ur", "urd_Arab", "urd", "urd", "Urdu"),
]


@pytest.mark.parametrize(
    "tag", ["", "   ", "xx", "qqq", "und", "mul", "zxx", "mis", "x-private", "12", "sw;fi", "no such"]
)
def test_unknown_languages_are_refused(tag: str) -> None:
    with pytest.raises(UnknownLanguage, match="unknown language"):
        language(tag)


@pytest.mark.parametrize("tag", ["\x00", "sw\x00", "\ud800", "a\x00bb"])
def test_non_strings_are_refused(tag: str) -> None:
    with pytest.raises(UnknownLanguage):
        language(tag)


def test_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(UnknownLanguage, match=r"unknown language 'swahli', did you mean 'sw'\?"):
        language("swahli")


def test_the_error_names_the_expected_forms_and_is_a_recipe_error() -> None:
    with pytest.raises(RecipeError, match=r"expected a BCP-47 tag such as 'sw', 'zh-Hans', or a code such"):
        language("qqq")


def test_paper_languages_are_those_of_the_paper() -> None:
    assert tuple(tag for tag, *_ in TEN) == PAPER_LANGUAGES


@pytest.mark.parametrize(("tag", "code", "iso", "macro", "name"), TEN, ids=PAPER_LANGUAGES)
def test_every_name_of_a_paper_language_is_accepted(tag: str, code: str, iso: str, macro: str, name: str) -> None:
    found = language(tag)
    assert (found.tag, found.code, found.iso639_3, found.name) == (tag, code, iso, name)
    assert found.native_name
    for alias in (code, code.lower(), code.replace("_", "-"), iso, macro, name, name.upper(), f" {tag}\n"):
        assert language(alias) == found


@pytest.mark.parametrize("tag", sorted({*PAPER_LANGUAGES, *SPECIFIC, "en", "de", "jv", "yo", "haw", "zu", "pa", "ckb"}))
def test_every_alias_maps_back(tag: str) -> None:
    found = language(tag)
    assert found.aliases[0] == found.tag
    assert len(set(found.aliases)) == len(found.aliases)
    assert {language(alias) for alias in found.aliases} == {found}


def test_malay_and_indonesian_are_different_languages() -> None:
    assert language("zsm").tag == language("zsm_Latn").tag == language("Malay").tag == "ms"
    assert language("ind").tag == "id"
    assert language("ms").confused_with == ("id",)
    assert "ms" in language("id").confused_with


def test_the_tag_no_is_norwegian() -> None:
    assert (language("no").tag, language("no").name, language("no").code) == ("no", "Norwegian", "nob_Latn")


def test_only_unusual_scripts_are_kept_in_a_tag() -> None:
    assert language("zh-Hans") == language("cmn_Hans") == language("zh")
    assert (language("zh-Hant").tag, language("zh-Hant").script) == ("zh-Hant", "Hant")
    assert (language("sr-Latn").tag, language("sr").script) == ("sr-Latn", "Cyrl")
    assert language("sr-Latn").code == "srp_Latn"
    assert language("jav_Latn") == language("jv")
    assert language("hin_Latn").tag == "hi-Latn"


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("Haitian Creole", "ht"),
        ("haitian creole", "ht"),
        ("Norwegian Bokmål", "nb"),
        ("Old English", "ang"),
        ("Zulu", "zu"),
        ("Igbo", "ig"),
        ("Bengali", "bn"),
        ("Kiswahili", "sw"),
        ("suomi", "fi"),
        ("हिन्दी", "hi"),
    ],
)
def test_english_names_are_accepted(name: str, tag: str) -> None:
    assert language(name).tag == tag


def test_deprecated_tags_are_replaced() -> None:
    assert language("iw").tag == "he"
    assert language("tl").tag == "fil"


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_confusable_languages_are_known(tag: str) -> None:
    found = language(tag)
    assert found.tag not in found.confused_with
    for other in found.confused_with:
        assert language(other).tag == other


def stable(tag: str) -> None:
    try:
        found = language(tag)
    except UnknownLanguage:
        return
    assert language(found.tag) == found
    assert found.tag
    assert found.name
    assert len(found.script) == 4
    assert len(found.iso639_3) == 3


@given(st.text(string.ascii_lowercase, min_size=2, max_size=3), st.sampled_from(["", "_Latn", "-Arab", "-Deva", "_CN"]))
def test_a_tag_is_its_own_language(letters: str, rest: str) -> None:
    stable(letters + rest)


@given(st.text(max_size=12))
def test_any_text_gives_a_language_or_an_error(text: str) -> None:
    stable(text)
