"""Prompts of a tuned model: errors, and the text of prompt and answer together."""

from __future__ import annotations

from pathlib import Path

import pytest

from x_instruction.errors import RecipeError
from x_instruction.prompts import Template, read_text
from x_instruction.prompts.answer import frame


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    return tmp_path / "mine.txt"


@pytest.mark.parametrize("chat", [False, True])
def test_an_unknown_prompt_is_refused(chat: bool) -> None:
    with pytest.raises(RecipeError, match=r"cannot read prompt 'anwser': .*one of answer"):
        frame("anwser", chat)


@pytest.mark.parametrize("text", ["", "Answer well.", "[user]\nAnswer well."])
def test_a_prompt_without_the_instruction_is_refused(prompt_file: Path, text: str) -> None:
    prompt_file.write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=r"mine.txt has no slot \{instruction\}: the model would not see"):
        frame(str(prompt_file), chat=True)


def test_an_unknown_slot_is_refused(prompt_file: Path) -> None:
    prompt_file.write_text("{language}: {instruction}", "utf-8")
    with pytest.raises(RecipeError, match=r"has an unknown slot \{language\}, expected only \{instruction\}"):
        frame(str(prompt_file), chat=False)


def test_a_chat_prompt_needs_a_chat_template(prompt_file: Path) -> None:
    prompt_file.write_text("[user]\n{instruction}", "utf-8")
    for name in ("chat", str(prompt_file)):
        with pytest.raises(RecipeError, match=r"prompt .* is a chat prompt, but the model has no chat template"):
            frame(name, chat=False)


def test_auto_selects_the_prompt_by_model() -> None:
    assert frame("auto", chat=True)("Why {x}?\n") == frame("chat", chat=True)("Why {x}?\n") == (("user", "Why {x}?\n"),)
    assert (
        frame("auto", chat=False)("Why?") == frame("answer", chat=False)("Why?") == frame("answer", chat=True)("Why?")
    )


def test_the_answer_starts_on_a_new_line() -> None:
    asked = frame("answer", chat=False)("Why {instruction}?\n\nSay it.")
    assert isinstance(asked, str)
    assert asked.endswith("\nWhy {instruction}?\n\nSay it.\n\nAnswer:\n")
    assert f"{asked}Because.".splitlines()[-2:] == ["Answer:", "Because."]


def test_a_custom_prompt_file_is_used(prompt_file: Path) -> None:
    prompt_file.write_text("Q: {instruction}\nA:", "utf-8")
    assert frame(str(prompt_file), chat=False)("Why?") == "Q: Why?\nA:\n"
    prompt_file.write_text("[system]\nBe kind.\n[user]\n{instruction}\n", "utf-8")
    assert frame(str(prompt_file), chat=True)("Why?") == (("system", "Be kind."), ("user", "Why?"))


@pytest.mark.parametrize("name", ["answer", "translate-base", "translate-chat"])
def test_other_included_prompts_load(name: str) -> None:
    found = Template(name, read_text(name))
    assert found.chat == name.endswith("chat")
    assert found.slots == ({"instruction"} if name == "answer" else {"passage", "language", "into"})
