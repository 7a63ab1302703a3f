"""Prompts: text files beside this one, and how they are filled.

A file that starts with ``[system]`` or ``[user]`` is a chat prompt; any other is a plain prompt that a base model
continues. What is the same in every prompt of a language stands first, so that engines read it once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from x_instruction.engines import Prompt
from x_instruction.errors import RecipeError
from x_instruction.hashing import digest

_ROLE = re.compile(r"^\[(system|user|assistant)\]$", re.MULTILINE)
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with slots.

    Args:
        name: as the recipe gives it.
        text: the file's text.
    """

    name: str
    text: str

    @property
    def digest(self) -> str:
        """Digest of the text: another prompt is another run."""
        return digest(self.text)

    @property
    def chat(self) -> bool:
        """Whether it is made of messages."""
        return _ROLE.match(self.text) is not None

    @property
    def slots(self) -> set[str]:
        """Names in braces."""
        return set(_SLOT.findall(self.text))

    def fill(self, **values: str) -> Prompt:
        """The prompt with its slots filled; values are never looked at for slots again."""
        if not self.chat:
            return self._filled(self.text, values)
        parts = _ROLE.split(self.text)[1:]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return tuple((role, self._filled(content, values).strip()) for role, content in pairs)

    def _filled(self, text: str, values: dict[str, str]) -> str:
        return _SLOT.sub(lambda match: values[match[1]], text).rstrip("\n")


def template(name: str, slots: frozenset[str]) -> Template:
    """A prompt of this folder by name, or of a file by path.

    Args:
        name: ``base-title``, ``base-few-shot``, ``chat`` ... or a path that ends in ``.txt``.
        slots: slots that the stage fills; ``passage`` must be among those that the text has.

    Raises:
        RecipeError: no such prompt, or a slot that the stage does not know.
    """
    text = read_text(name)
    found = Template(name, text)
    unknown = sorted(found.slots - slots)
    if unknown:
        raise RecipeError(f"prompt {name} has an unknown slot {{{unknown[0]}}} (known: {', '.join(sorted(slots))})")
    if "passage" not in found.slots:
        raise RecipeError(f"prompt {name} has no slot {{passage}}: the model would not see the text")
    return found


def read_text(name: str) -> str:
    """The text of a prompt by name or path.

    Raises:
        RecipeError: no such prompt; the message lists those there are.
    """
    folder = resources.files("x_instruction.prompts")
    try:
        return (folder.joinpath(f"{name}.txt") if name in names() else Path(name)).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(names())
        raise RecipeError(f"cannot read prompt {name!r}: {error}; name a file, or one of {known}") from None


def names() -> list[str]:
    """Names of the prompts that ship with the package."""
    folder = resources.files("x_instruction.prompts")
    return sorted(p.name[: -len(".txt")] for p in folder.iterdir() if p.name.endswith(".txt"))


def digest_of(name: str) -> str:
    """Digest of a prompt, or for ``auto`` and ``trained-auto`` of all that there are, of which they choose."""
    return folder_digest() if name in ("auto", "trained-auto") else digest(read_text(name))


def folder_digest() -> str:
    """Digest of all prompts that ship with the package."""
    return digest({name: read_text(name) for name in names()})
