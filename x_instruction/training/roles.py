"""What the pipeline's own models learn from: pairs in, prompts and completions out.

The generator reads a response and writes its instruction (the loss is on the instruction alone); the rater reads a
pair and answers with one of three levels. Both are asked by the functions that ask them later, so what they learn is
what they are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from x_instruction import hashing
from x_instruction.config.generate import Generate
from x_instruction.config.refine import Refine
from x_instruction.languages import language
from x_instruction.prompts import instruction as prompts
from x_instruction.refine import trained
from x_instruction.refine.labels import LEVELS, Example
from x_instruction.seed.pairs import Pair
from x_instruction.training.job import TrainingExample


class Clips(Protocol):
    """An engine, or a model's tokenizer."""

    chat: bool

    def truncate(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""


def writing(pairs: Sequence[Pair], settings: Generate, reader: Clips) -> list[TrainingExample]:
    """Lessons of the generator (backward tuning: method.md 2.2, Humpback section 2.2).

    Args:
        pairs: trusted pairs; their instructions are in ``settings.instruction_language``.
        settings: prompt and length of what the generator is shown.
        reader: of the base model.
    """
    template = prompts.choose(
        "trained-auto" if settings.trained_prompt == "auto" else settings.trained_prompt, reader.chat
    )
    lessons = []
    for pair in pairs:
        wanted = " ".join(f"{pair.instruction}\n{pair.input}".split())
        shown = reader.truncate(pair.output, settings.passage_tokens)
        prompt, opening = prompts.ask(
            template, shown, language(pair.language), language(pair.instruction_language), prompts.style(wanted), 0
        )
        # A base model goes on after the prompt's last word; a chat model begins a turn.
        joint = "" if template.chat else " "
        lessons.append(TrainingExample(prompt, joint + wanted.removeprefix(opening)))
    return lessons


def rating(examples: Sequence[Example], settings: Refine, reader: Clips) -> list[TrainingExample]:
    """Lessons of the rater (the paper's evaluator: method.md 2.3): a pair, and its level as one of three answers.

    Args:
        examples: pairs of known levels.
        settings: prompt and length of the response that is shown.
        reader: of the base model.
    """
    lessons = []
    # By document, in an order that has nothing to do with what they are about: levels of one response stay together.
    for e in sorted(examples, key=lambda e: (hashing.digest([e.document, e.language]), e.strategy)):
        asked = trained.question(e.text, e.language, e.instruction, e.instruction_language, settings, reader)
        lessons.append(TrainingExample(asked.prompt, asked.answers[LEVELS.index(e.level)], end=False))
    return lessons
