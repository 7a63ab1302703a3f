"""Prompt templates: text files in this folder, with slots in braces.

A file with lines such as ``[system]`` or ``[user]`` is a chat prompt; any other is a plain prompt that a base model
continues. The part that is the same in all prompts comes first, so that engines can process it once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from x_instruction.engines import Prompt
from x_instruction.errors import RecipeError
from x_instruction.hashing import digest
from x_instruction.storage.atomic import regular_text

_ROLE = re.compile(r"^\[(system|user|assistant)\]$", re.MULTILINE)
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with slots.

    Args:
        name: its name in the recipe.
        text: text of the file.
    """

    name: str
    text: str

    @property
    def digest(self) -> str:
        """Digest of the text. A changed prompt makes existing output outdated."""
        return digest(self.text)

    @property
    def chat(self) -> bool:
        """True if the prompt consists of chat messages."""
        return _is_chat(self.text)

    @property
    def slots(self) -> frozenset[str]:
        """Names of the slots."""
        return _slots(self.text)

    def fill(self, **values: str) -> Prompt:
        """Fill the slots. Braces in the values are not slots."""
        if not self.chat:
            return self._filled(self.text, values)
        parts = _ROLE.split(self.text)[1:]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return tuple((role, self._filled(content, values).strip()) for role, content in pairs)

    def _filled(self, text: str, values: dict[str, str]) -> str:
        return _SLOT.sub(lambda match: values[match[1]], text).rstrip("\n")


# Asked for every request of a prompt.
@cache
def _is_chat(text: str) -> bool:
    return _ROLE.match(text) is not None


@cache
def _slots(text: str) -> frozenset[str]:
    return frozenset(_SLOT.findall(text))


def template(name: str, slots: frozenset[str]) -> Template:
    """Load a prompt of this folder by name, or a file by path.

    Args:
        name: ``base-title``, ``base-few-shot``, ``chat`` ... or a path that ends in ``.txt``.
        slots: slots that the stage fills. The prompt may use some of them, and must use ``passage``.

    Raises:
        RecipeError: unknown prompt, or a slot that the stage does not fill.
    """
    text = read_text(name)
    prompt = Template(name, text)
    unknown = sorted(prompt.slots - slots)
    if unknown:
        raise RecipeError(f"prompt {name} has an unknown slot {{{unknown[0]}}} (known: {', '.join(sorted(slots))})")
    if "passage" not in prompt.slots:
        raise RecipeError(f"prompt {name} has no slot {{passage}}: the model would not see the text")
    return prompt


def read_text(name: str) -> str:
    """The text of a prompt by name or path.

    Raises:
        RecipeError: unknown prompt; the message lists the known ones.
    """
    folder = resources.files("x_instruction.prompts")
    try:
        return folder.joinpath(f"{name}.txt").read_text("utf-8") if name in names() else regular_text(Path(name))
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(names())
        raise RecipeError(f"cannot read prompt {name!r}: {error}; expected a path or one of {known}") from None


def names() -> list[str]:
    """Names of the prompts that ship with the package."""
    folder = resources.files("x_instruction.prompts")
    return sorted(p.name[: -len(".txt")] for p in folder.iterdir() if p.name.endswith(".txt"))


def digest_of(name: str) -> str:
    """Digest of a prompt; for ``auto`` and ``trained-auto`` of all prompts, since these select one at run time."""
    return folder_digest() if name in ("auto", "trained-auto") else digest(read_text(name))


def folder_digest() -> str:
    """Digest of all prompts that ship with the package."""
    return digest({name: read_text(name) for name in names()})
