"""How a tuned model is asked: one way for the rows that it is tuned on and for all that it is asked later."""

from __future__ import annotations

from collections.abc import Callable

from x_instruction.engines import Prompt
from x_instruction.errors import RecipeError
from x_instruction.prompts import Template, read_text

SLOT = "instruction"


def frame(name: str, chat: bool) -> Callable[[str], Prompt]:
    """What a model reads for an instruction.

    After a plain prompt the answer begins on a line of its own, right where the prompt ends: prompt and answer put
    together are the text that a base model continues.

    Args:
        name: ``chat``: the instruction alone, in the model's chat template; name or path of a text with
            ``{instruction}``; or ``auto``: ``chat`` where there is a template, else ``answer``.
        chat: whether the model has a chat template.

    Raises:
        RecipeError: no such prompt, one without ``{instruction}`` or with other slots, or a chat prompt for a model
            that has no chat template.
    """
    if name == "auto":
        name = "chat" if chat else "answer"
    if name != "chat":
        return _of_text(Template(name, read_text(name)), chat)
    if not chat:
        raise _no_template(name)
    return lambda instruction: (("user", instruction),)


def _of_text(prompt: Template, chat: bool) -> Callable[[str], Prompt]:
    if SLOT not in prompt.slots:
        raise RecipeError(f"prompt {prompt.name} has no slot {{{SLOT}}}: the model would not see what it is asked")
    if unknown := sorted(prompt.slots - {SLOT}):
        raise RecipeError(f"prompt {prompt.name} has an unknown slot {{{unknown[0]}}}, wanted {{{SLOT}}} alone")
    if prompt.chat and not chat:
        raise _no_template(prompt.name)

    def ask(instruction: str) -> Prompt:
        filled = prompt.fill(instruction=instruction)
        return f"{filled}\n" if isinstance(filled, str) else filled

    return ask


def _no_template(name: str) -> RecipeError:
    return RecipeError(
        f"prompt {name} is made of messages and the model has no chat template: take a plain one, as answer"
    )
