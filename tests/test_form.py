"""The form of an instruction: what is refused, and what must pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.form import copied, find_fault
from x_instruction.languages import language

FINNISH = (
    "Lohikeitto on suomalainen kalakeitto. Kuori perunat ja keitä ne kypsiksi. Lisää lohi, kerma ja tilli, "
    "ja anna keiton hautua hetki. How to use a boat is written on the wall of the kitchen."
)
SETTINGS = Generate(model=Model(name="m"), min_chars=12, max_chars=120, max_copy=0.5)
ENGLISH, THAI = language("en"), language("th")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("empty", ""),
        ("empty", " ?"),
        ("empty", "...!"),
        ("too_short", "How so?"),
        ("too_short", "Tell it so."),
        ("too_long", "How do people in the north " + "really " * 20 + "cook salmon soup?"),
        ("wrong_language", "Miten lohikeitto tehdään pääsiäisenä äidille?"),
        ("wrong_language", "น้ำขึ้นน้ำลงเกิดขึ้นได้อย่างไร?"),
        ("wrong_language", "1234 5678 9012?"),
        ("mentions_the_text", "What is this article about, exactly?"),
        ("mentions_the_text", "What does the author think of salmon?"),
        ("mentions_the_text", "Summarize the recipe for salmon soup."),
        ("mentions_the_text", "Answer the following question on soup."),
        ("mentions_the_text", "Translate salmon soup into Finnish."),
        ("mentions_the_text", "Write a headline for a story on soup."),
        ("mentions_the_text", "How do you say salmon soup in English?"),
        ("mentions_the_text", "How is soup described in the text above?"),
        ("mentions_the_text", "Salmon soup of the north (English version)."),
        ("generic", "What is this about?"),
        ("generic", "What is the main idea?"),
        ("generic", "How do you do it?"),
        ("generic", "Tell me more!!!!"),
        ("generic", "Describe your day."),
        ("repeats_itself", "How to cook, how to cook, how to cook?"),
        ("repeats_itself", "Explain the soup soup soup of the north."),
        ("copies_the_passage", "How to use a boat is written?"),
        ("copies_the_passage", "LOHIKEITTO ON SUOMALAINEN"),
    ],
)
def test_refused(reason: str, text: str) -> None:
    assert find_fault(text, FINNISH, SETTINGS, ENGLISH) == reason


@pytest.mark.parametrize(
    "text",
    [
        "How do tides work?",
        "Write a news article about the opening of a new bridge.",
        "Write a news article on salmon prices in Turku.",
        "Who was the author of the Kalevala?",
        "How did the Swahili language spread along the coast?",
        "Explain the word order of Finnish.",
        "Explain the process of following a recipe.",
        "What is the name of the largest lake in Finland?",
        "Write a letter to your grandmother about the harvest.",
        "Describe your morning routine at a tea stall.",
        "How do you make lohikeitto, the Finnish salmon soup?",
        "Explain what Lohikeitto is and when it is eaten.",
        "Who was Väinö Linna, and what did he write?",
        "Write a diary entry about a day at the market.",
        "Write a short story in which a fox outsmarts a bear.",
        "Why is tilli used in so many Finnish dishes?",
        "How do you prepare bún chả at home?",
        "Why does the sea rise and fall twice a day?",
        "What is the difference between a lake and a pond?",
        "Describe a traditional wedding in Dhaka.",
        "What time do shops close on Sundays in Tampere?",
        "Give me a recipe that uses salmon, cream and dill!",
        "Why do we rinse rice again and again?",
    ],
)
def test_good_instructions_pass(text: str) -> None:
    assert find_fault(text, FINNISH, SETTINGS, ENGLISH) is None


def test_an_instruction_in_another_language_is_held_to_its_script() -> None:
    assert find_fault("น้ำขึ้นน้ำลงเกิดขึ้นได้อย่างไร?", FINNISH, SETTINGS, THAI) is None
    assert find_fault("How do the tides come about?", FINNISH, SETTINGS, THAI) == "wrong_language"


def test_english_rules_are_for_english_only() -> None:
    german = language("de")
    assert find_fault("Was ist the title davon genau?", FINNISH, SETTINGS, german) is None


def test_lengths_are_inclusive() -> None:
    short = "Why is soup?"
    assert len(short) == 12
    assert find_fault(short, FINNISH, SETTINGS, ENGLISH) is None
    exact = SETTINGS.replace(max_chars=12)
    assert find_fault(short, FINNISH, exact, ENGLISH) is None
    assert find_fault("Why is soup??", FINNISH, exact, ENGLISH) == "too_long"


def test_copying_may_be_allowed() -> None:
    allowed = SETTINGS.replace(max_copy=1.0)
    assert find_fault("How to use a boat is written?", FINNISH, allowed, ENGLISH) is None


@pytest.mark.parametrize(
    ("instruction", "text", "share"),
    [
        ("", "abc", 0.0),
        ("abc", "", 0.0),
        ("abcd", "xxabcdxx", 1.0),
        ("abcd", "xxABxxCD", 0.5),
        ("ABCDEFGHIJ", "defg", 0.4),
        ("a b c", "a-b-c", 0.2),
        ("น้ำขึ้น", "น้ำ", 3 / 7),
        ("aaaa" * 60, "a" * 250, 1.0),
    ],
)
def test_copied_by_hand(instruction: str, text: str, share: float) -> None:
    assert copied(instruction, text) == pytest.approx(share)


@given(st.text(max_size=30), st.text(max_size=60))
def test_copied_is_a_share(instruction: str, text: str) -> None:
    assert 0 <= copied(instruction, text) <= 1
    assert copied(instruction, text + instruction) == bool(instruction)
