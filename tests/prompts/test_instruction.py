"""Prompts that ask for an instruction."""

from __future__ import annotations

import pytest

from x_instruction.languages import language
from x_instruction.prompts import template
from x_instruction.prompts.instruction import FORMS, OPENINGS, SLOTS, STYLES, ask, choose, max_tokens, stops

SWAHILI, ENGLISH, FINNISH = language("sw"), language("en"), language("fi")

# Prompts


@pytest.mark.parametrize(("chat", "name"), [(False, "base-title"), (True, "chat")])
def test_auto_selects_the_prompt_by_model(chat: bool, name: str) -> None:
    assert choose("auto", chat).name == name
    assert choose("base-few-shot", chat).name == "base-few-shot"


def test_a_base_prompt_ends_in_the_opening() -> None:
    prompt, opening = ask(template("base-title", SLOTS), "Bahari\nhupwa.", SWAHILI, ENGLISH, "question", 0)
    assert prompt == "Swahili article:\nBahari hupwa.\n\nEnglish title of the article: What is"
    assert opening == "What is"


def test_candidates_alternate_between_openings() -> None:
    title = template("base-title", SLOTS)
    for style, openings in OPENINGS.items():
        found = [ask(title, "x", SWAHILI, ENGLISH, style, turn)[1] for turn in range(2 * len(openings))]
        assert found == [opening.strip() for opening in openings] * 2


@pytest.mark.parametrize(("into", "style"), [(FINNISH, "question"), (ENGLISH, "search"), (ENGLISH, "unheard of")])
def test_there_is_no_opening_for_other_languages_and_styles(into: object, style: str) -> None:
    prompt, opening = ask(template("base-title", SLOTS), "x", SWAHILI, into, style, 3)  # type: ignore[arg-type]
    assert opening == ""
    assert isinstance(prompt, str)
    assert prompt.endswith("title of the article:")


@pytest.mark.parametrize("style", STYLES)
def test_a_chat_prompt_names_the_style_after_the_passage(style: str) -> None:
    prompt, opening = ask(template("chat", SLOTS), "Bahari\nhupwa.", SWAHILI, ENGLISH, style, 4)
    assert opening == ""
    assert isinstance(prompt, tuple)
    # No system message: some templates refuse one.
    assert [role for role, _ in prompt] == ["user", "assistant"] * (len(prompt) // 2) + ["user"]
    before, passage, after = prompt[-1][1].partition("<text>\nBahari\nhupwa.\n</text>")
    assert passage
    assert before == "The text is in Swahili.\n\n"
    assert after == f"\n\nWrite the request in English, as {FORMS[style]}."


def test_prompts_of_all_styles_share_a_prefix_that_includes_the_passage() -> None:
    passage = "Bahari hupwa na kujaa. " * 40
    asked = [ask(template("chat", SLOTS), passage, SWAHILI, ENGLISH, style, 0)[0] for style in STYLES]
    assert len(set(asked)) == len(STYLES)
    assert len({prompt[:-1] for prompt in asked}) == 1
    assert len({str(prompt[-1][1]).split("</text>")[0] for prompt in asked}) == 1


def test_a_custom_style_is_named_unchanged() -> None:
    prompt, _ = ask(template("chat", SLOTS), "x", SWAHILI, FINNISH, "a riddle", 0)
    assert prompt[-1][1].endswith("Write the request in Finnish, as a riddle.")


@pytest.mark.parametrize(("name", "ends", "tokens"), [("chat", False, 96), ("base-title", True, 48)])
def test_only_a_base_model_is_stopped_at_a_line_break(name: str, ends: bool, tokens: int) -> None:
    prompt = template(name, SLOTS)
    assert ("\n" in stops(prompt)) == ends == bool(stops(prompt))
    assert max_tokens(prompt, None) == tokens
    assert max_tokens(prompt, 7) == 7
