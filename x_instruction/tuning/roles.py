"""What the pipeline's own models learn from: pairs in, prompts and completions out.

The generator reads a response and writes its instruction (the loss is on the instruction alone); the rater reads a
pair and answers with one of three levels. Both are asked by the functions that ask them later, so what they learn is
what they are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from x_instruction import recipe
from x_instruction.languages import language
from x_instruction.prompts import instruction as prompts
from x_instruction.seed.pairs import Pair
from x_instruction.tuning.job import Lesson


class Clips(Protocol):
    """An engine, or a model's tokenizer."""

    chat: bool

    def clip(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""


def writing(pairs: Sequence[Pair], settings: recipe.Generate, reader: Clips) -> list[Lesson]:
    """Lessons of the generator (backward tuning: method.md 2.2, Humpback section 2.2).

    Args:
        pairs: trusted pairs; their instructions are in ``settings.instruction_language``.
        settings: prompt and length of what the generator is shown.
        reader: of the base model.
    """
    template = prompts.tuned(settings.tuned_prompt, reader.chat)
    lessons = []
    for pair in pairs:
        wanted = " ".join(f"{pair.instruction}\n{pair.input}".split())
        shown = reader.clip(pair.output, settings.passage_tokens)
        prompt, opening = prompts.ask(
            template, shown, language(pair.language), language(pair.instruction_language), prompts.style(wanted), 0
        )
        # A base model goes on after the prompt's last word; a chat model begins a turn.
        joint = "" if template.chat else " "
        lessons.append(Lesson(prompt, joint + wanted.removeprefix(opening)))
    return lessons
