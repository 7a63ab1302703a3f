"""How an instruction is asked for, and how it is read out of what a model wrote."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from x_instruction.languages import language
from x_instruction.prompts import template
from x_instruction.prompts.instruction import OPENINGS, SLOTS, STYLES, ask, choose, read

SWAHILI, ENGLISH, FINNISH = language("sw"), language("en"), language("fi")

# Asking


@pytest.mark.parametrize(("chat", "name"), [(False, "base-title"), (True, "chat")])
def test_auto_follows_the_model(chat: bool, name: str) -> None:
    assert choose("auto", chat).name == name
    assert choose("base-few-shot", chat).name == "base-few-shot"


def test_a_base_prompt_ends_in_the_opening() -> None:
    prompt, opening = ask(template("base-title", SLOTS), "Bahari\nhupwa.", SWAHILI, ENGLISH, "question", 0)
    assert prompt == "Swahili article:\nBahari hupwa.\n\nEnglish title of the article: How to"
    assert opening == "How to"


def test_candidates_take_turns_over_the_openings() -> None:
    title = template("base-title", SLOTS)
    for style, openings in OPENINGS.items():
        found = [ask(title, "x", SWAHILI, ENGLISH, style, turn)[1] for turn in range(2 * len(openings))]
        assert found == [opening.strip() for opening in openings] * 2


@pytest.mark.parametrize(("into", "style"), [(FINNISH, "question"), (ENGLISH, "search"), (ENGLISH, "unheard of")])
def test_no_opening_where_none_fits(into: object, style: str) -> None:
    prompt, opening = ask(template("base-title", SLOTS), "x", SWAHILI, into, style, 3)  # type: ignore[arg-type]
    assert opening == ""
    assert isinstance(prompt, str)
    assert prompt.endswith("title of the article:")


@pytest.mark.parametrize("style", STYLES)
def test_a_chat_prompt_names_the_style_and_keeps_lines(style: str) -> None:
    prompt, opening = ask(template("chat", SLOTS), "Bahari\nhupwa.", SWAHILI, ENGLISH, style, 4)
    assert opening == ""
    assert isinstance(prompt, tuple)
    (system, rules), (user, content) = prompt
    assert (system, user) == ("system", "user")
    assert f"one {STYLES[style]} in English" in rules
    assert "Bahari\nhupwa." in content
    assert "Swahili" in content


# Reading


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        "\n\n",
        "...",
        "?",
        "!!",
        '"',
        "''",
        "**",
        "- ",
        "# #",
        "…?",
        "“”",
        "Question:",
        "Answer: ",
        '"?"',
        "Title: .",
    ],
)
@pytest.mark.parametrize("style", OPENINGS)
def test_nothing_in_it(answer: str, style: str) -> None:
    assert read("", answer, style) == ""


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("How do tides work?", "How do tides work?"),
        ("how do tides work", "How do tides work?"),
        ("  How do\n tides\twork ? ", "How do tides work?"),
        ("How do tides work??", "How do tides work?"),
        ("How do tides work?!", "How do tides work?"),
        ("How do tides work...", "How do tides work?"),
        ("Explain how tides work", "Explain how tides work."),
        ("Explain how tides work:", "Explain how tides work."),
        ("Write a haiku!!", "Write a haiku!"),
        ("Question: How do tides work?", "How do tides work?"),
        ("question (English): How do tides work?", "How do tides work?"),
        ("**Question:** How do tides work?", "How do tides work?"),
        ("**How do tides work**?", "How do tides work?"),
        ("**How do tides work?**", "How do tides work?"),
        ("# How do tides work?", "How do tides work?"),
        ("- `How do tides work?`", "How do tides work?"),
        ('"How do tides work?"', "How do tides work?"),
        ("“How do tides work?”", "How do tides work?"),
        ("«How do tides work?»", "How do tides work?"),
        ('Instruction: "Explain the tides."', "Explain the tides."),
        ('"How do tides work?', "How do tides work?"),
        ('What is " tide "?', 'What is " tide "?'),
        ('What is " a tide?', "What is a tide?"),
        ('Who wrote "Kalevala" and why?', 'Who wrote "Kalevala" and why?'),
        ("Describe\na\nharbour", "Describe a harbour."),
        ("Questions about tides", "Questions about tides."),
        ("น้ำขึ้นน้ำลงคืออะไร", "น้ำขึ้นน้ำลงคืออะไร."),
    ],
)
def test_an_answer_is_read(answer: str, wanted: str) -> None:
    assert read("", answer, "question") == wanted


def test_an_answer_continues_its_opening() -> None:
    assert read("How to", " cook rice?", "question") == "How to cook rice?"
    assert read("Explain how", " tides work", "instruction") == "Explain how tides work."
    assert read("How to", "", "question") == "How to?"


def test_a_search_has_no_mark() -> None:
    assert read("", 'Query: "tide times dar es salaam?"', "search") == "Tide times dar es salaam"


# Where quotes, marks, markup, lines, other scripts and lone surrogates meet.
MESSY = st.text(st.sampled_from("ab \n\t\r\x1c\x85\u2028\"'`*_#-.…:;,!?“”«»ß\u0ed0ก็ক্\u200d\ud800")) | st.text()


@given(
    st.sampled_from([o.strip() for found in OPENINGS.values() for o in found]), MESSY, st.sampled_from([*OPENINGS, "x"])
)
@example("", 'a" "', "search")
def test_reading_gives_one_line_and_never_raises(opening: str, answer: str, style: str) -> None:
    found = read(opening, answer, style)
    assert len(found.splitlines()) <= 1
    assert found == " ".join(found.split())
    assert found.count('"') % 2 == 0
    if found and style != "search":
        assert found[-1] in ".?!"
        assert not found.endswith(("..", "??", "!!", ".?", "?.", " ."))


@given(MESSY.map(lambda text: text.replace(":", "")), st.sampled_from(["question", "instruction"]))
def test_reading_again_changes_nothing_where_there_is_no_label(answer: str, style: str) -> None:
    once = read("", answer, style)
    assert read("", once, style) == once
