"""Training examples for the generator and the rater of a run.

The generator reads a response and writes its instruction; only the instruction has a loss. The rater reads a pair and
answers with one of three levels. The prompts come from the same functions that prompt the models in the run, so
training and inference prompts are equal.
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


class Truncator(Protocol):
    """An engine, or an ``ExampleEncoder``: truncates text to a number of the model's tokens."""

    chat: bool

    def truncate(self, text: str, tokens: int) -> str:
        """The longest prefix of the text that has at most this many tokens."""


def generator_examples(pairs: Sequence[Pair], settings: Generate, model: Truncator) -> list[TrainingExample]:
    """Examples for the generator: from a response to its instruction.

    The generator is a backward model, as in Humpback (arXiv 2308.06259, section 2.2; docs/method.md 2.2).

    Args:
        pairs: seed pairs, with instructions in ``settings.instruction_language``.
        settings: the prompt, and the length of the response in it.
        model: the base model.
    """
    template = prompts.choose(
        "trained-auto" if settings.trained_prompt == "auto" else settings.trained_prompt, model.chat
    )
    examples = []
    for pair in pairs:
        instruction = " ".join(f"{pair.instruction}\n{pair.input}".split())
        passage = model.truncate(pair.output, settings.passage_tokens)
        style = prompts.style(instruction)
        prompt, opening = prompts.ask(
            template, passage, language(pair.language), language(pair.instruction_language), style, 0
        )
        # A plain prompt ends with a word and the completion continues after a space; a chat model begins a new turn.
        separator = "" if template.chat else " "
        examples.append(TrainingExample(prompt, separator + instruction.removeprefix(opening)))
    return examples


def rater_examples(pairs: Sequence[Example], settings: Refine, model: Truncator) -> list[TrainingExample]:
    """Examples for the rater: from a pair to its level, one of three answers.

    The rater is the paper's evaluator (arXiv 2405.19744; docs/method.md 2.3).

    Args:
        pairs: pairs of known level.
        settings: the prompt, and the length of the response in it.
        model: the base model.
    """
    examples = []
    # Sorted by a hash of the document, so that the order is unrelated to the topic and the pairs of one response stay
    # together.
    for pair in sorted(pairs, key=lambda pair: (hashing.digest([pair.document, pair.language]), pair.strategy)):
        question = trained.question(
            pair.text, pair.language, pair.instruction, pair.instruction_language, settings, model
        )
        examples.append(TrainingExample(question.prompt, question.answers[LEVELS.index(pair.level)], end=False))
    return examples
