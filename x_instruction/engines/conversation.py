"""Changes to chat prompts that some models need."""

from __future__ import annotations

Turns = tuple[tuple[str, str], ...]


def without_system(turns: Turns) -> Turns:
    """The same conversation without system messages: their text is put before that of the next user message.

    Templates such as Gemma 2's refuse a system message.
    """
    changed: list[tuple[str, str]] = []
    waiting: list[str] = []
    for role, content in turns:
        if role == "system":
            waiting.append(content)
        elif role == "user" and waiting:
            changed.append((role, "\n\n".join([*waiting, content])))
            waiting = []
        else:
            changed.append((role, content))
    return (*changed, *((("user", "\n\n".join(waiting)),) if waiting else ()))
