"""The prompt that asks for an instruction, and how the answer is read."""

from __future__ import annotations

import re

from x_instruction.engines import Prompt
from x_instruction.languages import Language
from x_instruction.prompts import Template, template

SLOTS = frozenset({"passage", "language", "instruction_language", "opening", "style"})

# Openings that lead a base model into a style: the model continues them. Candidates use them in turn.
OPENINGS = {
    "question": (" How to", " What is", " How does", " Why", " How do"),
    "instruction": (" Explain how", " Describe", " Explain why", " Tell"),
    "search": ("",),
}
# Names of the styles in prompts for chat models.
STYLES = {"question": "question", "instruction": "instruction", "search": "search query"}

# A line break or a closing tag ends an instruction.
STOPS = ("\n", "<end", "</")

_LABEL = re.compile(
    r"^(?:\d{1,2}[.)]\s+)?"
    r"(?:(?:instruction|question|request|task|title|query|answer)\s*(?:\([^)]{0,20}\))?\s*:\s*)*",
    re.I,
)
_WRAPS = "\"'`*_“”‘’«»#- \t"


# Prompts without and with a chat template. A trained generator knows the task, so its prompt only labels the parts.
_AUTO = {"auto": ("base-title", "chat"), "trained-auto": ("trained", "trained-chat")}


def choose(name: str, chat: bool) -> Template:
    """The prompt with this name; ``auto`` and ``trained-auto`` depend on whether the model has a chat template.

    The default prompt for base models has a title and no examples, because a model of 270 million parameters copies
    examples.
    """
    return template(_AUTO[name][chat] if name in _AUTO else name, SLOTS)


def style(instruction: str) -> str:
    """The style of an instruction: ``question``, ``search`` (no punctuation mark at the end) or ``instruction``."""
    if instruction.rstrip().endswith("?"):
        return "question"
    return "instruction" if instruction.rstrip().endswith((".", "!")) else "search"


def ask(
    prompt: Template, passage: str, language: Language, into: Language, style: str, turn: int
) -> tuple[Prompt, str]:
    """The prompt for one candidate, and the opening that the answer continues.

    Args:
        prompt: the template.
        passage: text, already truncated to ``passage_tokens``.
        language: language of the passage.
        into: language of the instruction.
        style: style of the instruction.
        turn: number of the candidate within its style, which selects the opening.
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
    """The instruction in an answer: one line without labels, quotation marks and markup, with a final mark.

    Only text around the instruction is removed. An answer without an instruction gives an empty string.
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
