"""Asking for an instruction, and reading the answer."""

from __future__ import annotations

import re

from x_instruction.engines import Prompt
from x_instruction.languages import Language
from x_instruction.prompts import Template, template

SLOTS = frozenset({"passage", "language", "instruction_language", "opening", "style"})

# How a base model is led into a style: it continues the opening, and candidates take turns over them.
OPENINGS = {
    "question": (" How to", " What is", " How does", " Why", " How do"),
    "instruction": (" Explain how", " Describe", " Explain why", " Tell"),
    "search": ("",),
}
# How a chat model is told a style.
STYLES = {"question": "question", "instruction": "instruction", "search": "search query"}

# A line, a new item or the end of the quotation ends an instruction.
STOPS = ("\n", "<end", "</")

_LABEL = re.compile(
    r"^(?:\d{1,2}[.)]\s+)?"
    r"(?:(?:instruction|question|request|task|title|query|answer)\s*(?:\([^)]{0,20}\))?\s*:\s*)*",
    re.I,
)
_WRAPS = "\"'`*_“”‘’«»#- \t"


# By whether the model has a chat template. A tuned generator has seen pairs, so its prompt only says what is what.
_AUTO = {"auto": ("base-title", "chat"), "trained-auto": ("trained", "trained-chat")}


def choose(name: str, chat: bool) -> Template:
    """The template that the recipe names; ``auto`` follows whether the model has a chat template.

    A base model is led by a title rather than by examples: at 270 million parameters it copies examples.
    """
    return template(_AUTO[name][chat] if name in _AUTO else name, SLOTS)


def style(instruction: str) -> str:
    """The style that an instruction is in: ``question``, ``search`` (a few words without a mark) or ``instruction``."""
    if instruction.rstrip().endswith("?"):
        return "question"
    return "instruction" if instruction.rstrip().endswith((".", "!")) else "search"


def ask(
    prompt: Template, passage: str, language: Language, into: Language, style: str, turn: int
) -> tuple[Prompt, str]:
    """The prompt for one candidate, and the opening that its answer continues.

    Args:
        passage: text, already clipped to what the generator is shown.
        turn: number of the candidate, which picks the opening.
    """
    openings = OPENINGS.get(style, ("",)) if "opening" in prompt.slots and into.tag == "en" else ("",)
    opening = openings[turn % len(openings)]
    filled = prompt.fill(
        passage=passage.replace("\n", " ") if not prompt.chat else passage,
        language=language.name,
        instruction_language=into.name,
        opening=opening,
        style=STYLES.get(style, style),
    )
    return filled, opening.strip()


def read(opening: str, answer: str, style: str) -> str:
    """The instruction in an answer: labels, quotation marks and markup taken off, one line, closed by a mark.

    Only what surrounds the instruction is taken off; an answer that holds none gives an empty string.
    """
    text = " ".join(f"{opening}{answer}".split()) if opening else " ".join(answer.split())
    text = _LABEL.sub("", text.strip(_WRAPS)).strip(_WRAPS)
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    if text.count('"') % 2:
        text = " ".join(text.replace('"', "").split())
    body = text.rstrip(".…:;,!? *_`")
    if style == "search" or not body:
        return body
    mark = next((mark for mark in "?!" if mark in text[len(body) :]), None)
    return body + (mark or ("?" if _is_question(body) else "."))


def _is_question(text: str) -> bool:
    first = re.split(r"[ '’]", text, maxsplit=1)[0].lower()
    return first in {"how", "what", "why", "who", "when", "where", "which", "is", "are", "do", "does", "did", "can"}
