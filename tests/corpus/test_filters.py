from __future__ import annotations

from collections.abc import Callable

import pytest

from x_instruction.config.corpus import Filters
from x_instruction.corpus import boilerplate, filters
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.filters import FILTERS, View, check
from x_instruction.languages import PAPER_LANGUAGES, language

LIMITS = Filters()
PROSE = (
    "Vanha kalastaja istui rannalla ja korjasi verkkoaan koko pitkän iltapäivän. Tuuli oli tyyntynyt, eikä lokkeja "
    "kuulunut enää kuin kaukaa saaren takaa. Hän mietti, mitä huominen toisi tullessaan, ja hymyili itsekseen."
)


def reason(text: str, tag: str = "fi", **limits: float) -> str | None:
    expected = language(tag)
    found = check(View(text, spaced(expected), boilerplate.phrases(tag), expected.script), LIMITS.replace(**limits))
    return found.name if found else None


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_every_sample_passes_all_filters(tag: str, sample_texts: Callable[[str], list[str]]) -> None:
    assert [reason(text, tag) for text in sample_texts(tag)] == [None] * 12


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "too_short"),
        ("lyhyt", "too_short"),
        (PROSE * 20, "too_long"),
        (PROSE + " 0401234 12345 67890 " * 20, "too_many_digits"),
        (PROSE + " #### ==== **** ~~~~" * 5, "too_many_symbols"),
        (PROSE + "\ufffd\ufffd", "broken_unicode"),
        (PROSE.replace("ä", "Ã¤"), "broken_unicode"),
        (PROSE + "\ue001\ue002", "broken_unicode"),
        ("Etusivu\nUutiset\nUrheilu\nSää\nViihde\n" * 2 + PROSE, "short_lines"),
        (f"{PROSE}\n" * 3, "duplicate_lines"),
        (f"{PROSE}\nKäytämme evästeitä sivuston kehittämiseen.\nLue lisää aiheesta täältä tänään.", "boilerplate"),
        (f"{PROSE}\nEtusivu | Uutiset | Urheilu | Sää | Viihde", "boilerplate"),
        ("sama asia taas kerran uudestaan " * 20, "repeated_ngrams"),
        (PROSE + ' <div class="a"> </div>', "markup"),
        (PROSE + " #uutiset #sää", "social_marks"),
        (PROSE + " [USERNAME] [URL]", "social_marks"),
        ("\n".join(f"Hallitus sopi uudesta budjetista {name}n kanssa" for name in "abcdefg"), "unfinished_lines"),
    ],
)
def test_each_filter_gives_its_reason(text: str, name: str) -> None:
    assert reason(text) == name


def test_repetition_is_found_without_spaces() -> None:
    assert reason("ข้อความนี้ซ้ำกันไปมา" * 20, "th") == "repeated_ngrams"
    assert reason("这句话重复了很多次而且没有别的内容。" * 20, "zh") == "repeated_ngrams"


def test_repetition_between_spaces_is_found_in_scripts_without_spaces() -> None:
    text = "ឪពុក ម្តាយ របស់ ខ្ញុំ បាន ទៅ ផ្សារ ដើម្បី ទិញ ត្រី និង បន្លែ ។ "
    assert reason("".join(text.replace("ខ្ញុំ", f"ខ្ញុំ{name}") for name in "កខគឃង") * 1, "km") == "spaced_words"


def test_wrapped_lines_and_lists_of_clauses_are_prose() -> None:
    words = PROSE.split()
    wrapped = "\n".join(" ".join(words[i : i + 9]) for i in range(0, len(words), 9))
    assert reason(wrapped) is None
    clauses = "\n".join(f"että jokaisella kansalaisella on oikeus asiaan numero {name};" for name in "abcdef")
    assert reason(clauses, max_repeated_ngrams=1.0) is None


def test_native_digits_are_counted_as_digits() -> None:
    assert reason("১২৩৪৫ ৬৭৮৯০ " * 30, "bn") == "too_many_digits"


def test_prose_about_cookies_is_kept() -> None:
    long_line = PROSE + " Reseptissä sanotaan, että leipuri read more keksit (cookie policy) paistetaan kultaisiksi."
    assert reason(long_line) is None


@pytest.mark.parametrize("tag", [*PAPER_LANGUAGES, "yo", "zh-Hans"])
def test_boilerplate_phrases_are_lower_case_and_include_english(tag: str) -> None:
    found = boilerplate.phrases(tag)
    assert all(phrase == phrase.lower() for phrase in found)
    assert "read more" in found


@pytest.mark.parametrize("text", ["", " ", "\n", "a", "\n\n\n", "\ud800", "💩" * 300])
def test_no_filter_fails_on_odd_text(text: str) -> None:
    view = View(text, True, ())
    for look in FILTERS.values():
        look(view, LIMITS)


def test_values_equal_to_a_limit_pass() -> None:
    assert filters.length(View("a" * LIMITS.min_chars, True, ()), LIMITS) is None
    assert filters.length(View("a" * LIMITS.max_chars, True, ()), LIMITS) is None
    assert filters.digits(View("a" * 75 + "1" * 25, True, ()), LIMITS) is None
