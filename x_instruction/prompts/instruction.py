"""The prompt that asks for an instruction. ``reading`` reads the answer."""

from __future__ import annotations

from x_instruction.engines import Prompt
from x_instruction.languages import Language
from x_instruction.prompts import Template, template

SLOTS = frozenset({"passage", "language", "instruction_language", "opening", "style", "form"})

# Openings that lead a base model into a style: the model continues them. Candidates use them in turn. After these, a
# small model keeps to the page more often than after "Why", "Tell" and "How does" (docs/benchmarks.md).
OPENINGS = {
    "question": (" What is", " How to"),
    "instruction": (" Describe", " Explain how"),
    "search": ("",),
    # " Write a" ends as a letter to a friend, whatever the passage.
    "genre": ("",),
}
# Names of the styles in the slot ``style``. A text of a certain genre is asked for with an instruction.
STYLES = {"question": "question", "instruction": "instruction", "search": "search query", "genre": "instruction"}
# What a request of the style looks like, for the slot ``form``.
FORMS = {
    "question": "a question",
    "instruction": "a task for an assistant",
    "search": "a search query of a few words, without a final mark",
    "genre": "a task that names the kind of text to write, such as a news report, a story, a recipe or a letter",
}

# A line break or a closing tag ends the instruction of a base model. A chat model ends its answer itself, and may begin
# it with an empty line.
_STOPS = ("\n", "<end", "</")
# Most new tokens where the recipe sets none. Chat models write longer instructions, with a label.
_MAX_TOKENS = {False: 48, True: 96}

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
        form=FORMS.get(style, style),
    )
    return filled, opening.strip()


def stops(prompt: Template) -> tuple[str, ...]:
    """Strings that end an answer to this prompt."""
    return () if prompt.chat else _STOPS


def max_tokens(prompt: Template, requested: int | None) -> int:
    """Most new tokens of an instruction, without thinking."""
    return requested or _MAX_TOKENS[prompt.chat]
