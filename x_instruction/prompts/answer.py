"""The prompt of a trained response model, the same for training rows and for requests."""

from __future__ import annotations

from collections.abc import Callable

from x_instruction.engines import Prompt
from x_instruction.errors import RecipeError
from x_instruction.prompts import Template, read_text

SLOT = "instruction"


def frame(name: str, chat: bool) -> Callable[[str], Prompt]:
    """A function that makes the prompt for an instruction.

    A plain prompt ends with a line break, and the answer begins on the next line: prompt and answer concatenated are
    the text that a base model continues.

    Args:
        name: ``chat``, which is the instruction alone in the model's chat template; name or path of a prompt with the
            slot ``{instruction}``; or ``auto``, which is ``chat`` for a model with a chat template, else ``answer``.
        chat: the model has a chat template.

    Raises:
        RecipeError: unknown prompt, one without ``{instruction}`` or with other slots, or a chat prompt for a model
            without a chat template.
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
        raise RecipeError(f"prompt {prompt.name} has no slot {{{SLOT}}}: the model would not see the instruction")
    if unknown := sorted(prompt.slots - {SLOT}):
        raise RecipeError(f"prompt {prompt.name} has an unknown slot {{{unknown[0]}}}, expected only {{{SLOT}}}")
    if prompt.chat and not chat:
        raise _no_template(prompt.name)

    def render(instruction: str) -> Prompt:
        filled = prompt.fill(instruction=instruction)
        return f"{filled}\n" if isinstance(filled, str) else filled

    return render


def _no_template(name: str) -> RecipeError:
    return RecipeError(
        f"prompt {name} is a chat prompt, but the model has no chat template: choose a plain one such as answer"
    )
