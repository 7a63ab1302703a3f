"""The form of an instruction: texts that are refused, and texts that pass."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction import form
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.corpus.words import words
from x_instruction.form import _shared_runs, copies, find_fault, find_faults
from x_instruction.languages import language

FINNISH = (
    "Lohikeitto on suomalainen kalakeitto. Kuori perunat ja keitä ne kypsiksi. Lisää lohi, kerma ja tilli, "
    "ja anna keiton hautua hetki. How to use a boat is written on the wall of the kitchen."
)
SETTINGS = Generate(model=Model(name="m"), min_chars=12, max_chars=120, max_copy=0.5)
ENGLISH, THAI = language("en"), language("th")

INDONESIAN = (
    "Buka pilihan perangkat lalu klik layar monitor untuk mengatur folder dokumen. Papan ketik dan sambungan jaringan "
    "dapat diubah pada menu aplikasi. File manager menampilkan hard disk di Files list view."
)
VIETNAMESE = (
    "Jean-Claude Van Damme là diễn viên người Bỉ. Ông sinh tại Berchem-Sainte-Agathe. Chế độ xem danh sách có thể được "
    "thay đổi."
)
SWAHILI = "Haki za binadamu ni haki za kila mtu. Nelson Mandela alipigania uhuru wa Afrika Kusini katika miaka mingi."
# Instructions of people and models that must pass, with a passage from which they may take words.
GOOD = [
    ("Who is Jean-Claude Van Damme?", VIETNAMESE),
    ("Where was Jean-Claude Van Damme born?", VIETNAMESE),
    ("What is Berchem-Sainte-Agathe known for?", VIETNAMESE),
    ("Why was the Bible first translated into English?", SWAHILI),
    ("Who translated the Bible into Swahili?", SWAHILI),
    ("When was the Luther Bible translated into German?", SWAHILI),
    ("How can machine learning help to translate speech?", SWAHILI),
    ("What did Nelson Mandela fight for in South Africa?", SWAHILI),
    ("How does Nelson Mandela's life inspire people?", SWAHILI),
    ("Summarize how salmon soup is cooked.", FINNISH),
    ("List three kinds of salmon that live in the Baltic Sea.", FINNISH),
    ("What is the meaning of life?", FINNISH),
    ("What is the purpose of dill in fish soup?", FINNISH),
    ("What are the main causes of climate change?", FINNISH),
    ("What does Article 12 of the declaration protect?", SWAHILI),
    ("How do I make the text on my screen larger?", INDONESIAN),
    ("How do I select and copy text in a document?", INDONESIAN),
    ("How does the file manager show the hard disk?", INDONESIAN),
    ("How do you hide files in the Files list view?", INDONESIAN),
    ("How do I connect a keyboard and a monitor?", INDONESIAN),
    ("Which sentence did the court hand down in 1994?", SWAHILI),
    ("Name the plays that were written by Shakespeare.", FINNISH),
    ("How is mail posted on remote islands?", FINNISH),
    ("Why did Dr. King march to Montgomery in 1965?", SWAHILI),
    ("What did J. R. R. Tolkien write about elves?", FINNISH),
    ("How can I learn more about the stars?", FINNISH),
    ("What is TCP/IP, and how do its layers work?", INDONESIAN),
    ("Explain the difference between RAM and ROM.", INDONESIAN),
    ("How far is it from Dar es Salaam to Zanzibar?", SWAHILI),
    ("What role does the speaker of the house play in Kenya?", SWAHILI),
    ("How did Māori navigators cross the Pacific?", FINNISH),
    ("Why is Zürich so expensive?", FINNISH),
    ("How should a newspaper choose its headlines?", FINNISH),
    ("What is the title of the leader of Monaco?", FINNISH),
]
# Malformed instructions, with the reason.
BAD = [
    ("Miten lohikeitto keitetään kotona helposti?", SWAHILI, "wrong_language"),
    ("Bagaimana cara membuat sup ikan di rumah?", SWAHILI, "wrong_language"),
    ("Jinsi ya kupika supu ya samaki nyumbani?", FINNISH, "wrong_language"),
    ("Làm thế nào để nấu canh cá hồi ở nhà?", FINNISH, "wrong_language"),
    ("Balık çorbası evde nasıl yapılır?", FINNISH, "wrong_language"),
    ("Comment préparer une soupe de poisson à la maison?", FINNISH, "wrong_language"),
    ("How to คลิก เมาส์ ขวา เมนู?", FINNISH, "wrong_language"),
    ("How do you use the layar monitor at home?", INDONESIAN, "untranslated"),
    ("Explain the pilihan perangkat of a computer.", INDONESIAN, "untranslated"),
    ("What is a sambungan jaringan in a computer?", INDONESIAN, "untranslated"),
    ("How do you change the chế độ xem of a list?", VIETNAMESE, "untranslated"),
    ("Explain what haki za binadamu means to you.", SWAHILI, "untranslated"),
    ("Why is it that haki za kila mtu ni haki?", SWAHILI, "wrong_language"),
    ("Buka pilihan perangkat lalu klik layar monitor.", INDONESIAN, "copies_the_passage"),
    ("How does salmon soup work? Click here to find out.", FINNISH, "page_furniture"),
    ("Salmon soup | Recipes | Home of the north", FINNISH, "page_furniture"),
    ("What is salmon soup? Read more »", FINNISH, "page_furniture"),
    ("See https://example.org/soup for the soup.", FINNISH, "page_furniture"),
    ("Explain the soup of the north [edit].", FINNISH, "page_furniture"),
    ("Posted by admin on the soup of the north.", FINNISH, "page_furniture"),
    ("Salmon soup &amp; bread of the north.", FINNISH, "page_furniture"),
    ("How to cook <b>salmon</b> soup?", FINNISH, "page_furniture"),
    ("© The soup company of the north.", FINNISH, "page_furniture"),
    ("Salmon soup - Wikipedia.", FINNISH, "page_furniture"),
    ("What is salmon soup? How is it cooked?", FINNISH, "several_sentences"),
    ("Describe the soup. It is made of salmon.", FINNISH, "several_sentences"),
    ("Tell me about soup! I am hungry.", FINNISH, "several_sentences"),
    ("Explain how the article was written.", FINNISH, "mentions_the_text"),
    ("Describe this article.", FINNISH, "mentions_the_text"),
    ("What is the purpose of the text?", FINNISH, "mentions_the_text"),
    ("What does the passage say about soup?", FINNISH, "mentions_the_text"),
    ("What is the article about?", FINNISH, "mentions_the_text"),
    ("Tell me of soup (French title: Soupe).", FINNISH, "mentions_the_text"),
    ("How would you translate salmon soup?", FINNISH, "mentions_the_text"),
    ("How does it work?", FINNISH, "generic"),
    ("What is the difference?", FINNISH, "generic"),
    ("Why is it important?", FINNISH, "generic"),
    ("Explain how it works.", FINNISH, "generic"),
    ("Describe the problem.", FINNISH, "generic"),
    ("Tell me about yourself.", FINNISH, "generic"),
]


@pytest.mark.parametrize(("instruction", "text"), GOOD)
def test_human_instructions_pass(instruction: str, text: str) -> None:
    assert find_fault(instruction, text, SETTINGS, ENGLISH) is None


@pytest.mark.parametrize(("instruction", "text", "fault"), BAD)
def test_malformed_instructions_are_refused(instruction: str, text: str, fault: str) -> None:
    assert find_fault(instruction, text, SETTINGS, ENGLISH) == fault


@pytest.mark.parametrize("tag", ["fi", "id", "sw", "vi", "tr"])
def test_english_is_refused_as_another_language(tag: str) -> None:
    """``instruction_language = "same"``: the languages share their script."""
    assert find_fault("How do the tides come about in the north?", "", SETTINGS, language(tag)) == "wrong_language"


@pytest.mark.parametrize(
    ("tag", "instruction"),
    [
        ("fi", "Miten lohikeitto keitetään kotona helposti?"),
        ("id", "Bagaimana cara membuat sup ikan di rumah?"),
        ("sw", "Jinsi ya kupika supu ya samaki nyumbani?"),
        ("vi", "Làm thế nào để nấu canh cá hồi ở nhà?"),
        ("tr", "Balık çorbası evde nasıl yapılır?"),
    ],
)
def test_an_instruction_in_its_own_language_passes(tag: str, instruction: str) -> None:
    assert find_fault(instruction, "", SETTINGS, language(tag)) is None


def test_an_unidentifiable_language_is_checked_by_script() -> None:
    tigrinya = language("ti")
    assert find_fault("ሓበሬታ ብኸመይ ይርከብ ኣብ ኤርትራ?", "", SETTINGS, tigrinya) is None
    assert find_fault("How do you find news in Eritrea?", "", SETTINGS, tigrinya) == "wrong_language"


def test_more_sentences_may_be_allowed() -> None:
    two = SETTINGS.replace(max_sentences=2)
    assert find_fault("Describe the soup. It is made of salmon.", "", two, ENGLISH) is None
    three = "Describe the soup. It is made of salmon. It is warm."
    assert find_fault(three, "", two, ENGLISH) == "several_sentences"


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
def test_invalid_instructions_are_refused_with_a_reason(reason: str, text: str) -> None:
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


def test_an_instruction_in_another_language_is_checked_by_script() -> None:
    assert find_fault("น้ำขึ้นน้ำลงเกิดขึ้นได้อย่างไร?", FINNISH, SETTINGS, THAI) is None
    assert find_fault("How do the tides come about?", FINNISH, SETTINGS, THAI) == "wrong_language"


def test_english_rules_apply_to_english_only() -> None:
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
    ("instruction", "text", "most", "found"),
    [
        ("", "abc", 0, False),
        ("abc", "", 0, False),
        ("how tides come about", "x how tides come about x", 19, True),
        ("how tides come about", "x how tides come about x", 20, False),
        ("how tides come about", "x HOW TIDES COME aboard", 15, True),
        ("how tides come about", "how tides. come about.", 12, False),
        ("น้ำขึ้นน้ำลงเกิดขึ้น", "น้ำขึ้นน้ำลง", 10, False),
        ("น้ำขึ้นน้ำลงเกิดขึ้น", "น้ำขึ้นน้ำลงเกิด", 12, True),
        ("aaaa" * 60, "a" * 250, 239, True),
    ],
)
def test_copies_by_hand(instruction: str, text: str, most: int, found: bool) -> None:
    assert copies(instruction, text, most) is found


@given(st.text(min_size=20, max_size=30), st.text(max_size=60))
def test_a_text_is_a_copy_of_itself(instruction: str, text: str) -> None:
    assert copies(instruction, text + instruction, len(instruction.casefold()) - 1)
    assert not copies(instruction, text + instruction, len(instruction.casefold()))


# Few characters and words, so that much is common.
SIMILAR = st.text("aabİß K\u0345", max_size=60)


@given(SIMILAR, SIMILAR, st.floats(0, 40))
def test_copies_have_a_long_common_substring(instruction: str, text: str, most: float) -> None:
    left, right = instruction.casefold(), text.casefold()
    longest = SequenceMatcher(None, left, right, autojunk=False).find_longest_match().size
    assert copies(instruction, text, most) is (longest > max(int(most), 12))


WORDS = st.lists(st.sampled_from(["saari", "Saari", "meri,", "ja", "(ja", "tuuli.", "-", "ÄITI"]), max_size=12)


@given(WORDS, st.lists(WORDS, max_size=4))
def test_shared_runs_are_maximal(instruction: list[str], texts: list[list[str]]) -> None:
    passage = " ".join(word for text in [*texts, instruction[2:5]] for word in text)
    found, whole = words(" ".join(instruction)), f" {' '.join(words(passage))} "
    expected, start = [], 0
    while start < len(found):
        ends = range(start + 1, len(found) + 1)
        end = max((end for end in ends if f" {' '.join(found[start:end])} " in whole), default=start + 1)
        expected += [" ".join(found[start:end])] if end - start > 1 else []
        start = end
    assert list(_shared_runs(" ".join(instruction), passage)) == expected


def test_find_faults_equals_find_fault_for_each() -> None:
    pairs = [(instruction, text) for instruction, text, _ in BAD] + [(instruction, text) for instruction, text in GOOD]
    assert find_faults(pairs, SETTINGS, ENGLISH) == [find_fault(*pair, SETTINGS, ENGLISH) for pair in pairs]


@pytest.mark.parametrize("part", [form._MENTIONS, form._FURNITURE], ids=["mentions", "furniture"])
@given(data=st.data())
def test_a_part_has_one_of_its_signs(part: Any, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(part.ascii_pattern)).replace("\n", " ")
    assert part.is_in(text) == (part.pattern.search(text) is not None)


# Few words, so that some follow themselves.
@given(st.text("ab ,.?!_A", max_size=30))
def test_repetitions_and_sentences_are_found_as_their_patterns_find_them(text: str) -> None:
    assert form._repeats_itself(text) == (form._REPEATS.search(text) is not None)
    assert form._next_sentences(text) == len(form._NEXT.findall(text))
