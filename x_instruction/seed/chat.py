"""Chats as rows of instruction files have them: their first exchange, and what is left out of it.

Two layouts are read: messages with ``role`` and ``content``, as in OpenAI's API and most data sets, and turns with
``from`` and ``value``, as in ShareGPT. The content is text or a list of parts, such as
``[{"type": "text", "text": "..."}]``.

Only the first exchange is a pair that needs no context. Later turns and system messages are counted as left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from x_instruction.corpus.cells import text_of
from x_instruction.records import Dropped, dropped, storable

# Columns that hold a whole chat, and a column beside them with the system text.
CHAT = ("messages", "conversations")
SYSTEM = "system"
# Columns that hold a chat in two parts, as TRL has it.
_HALVES = ("prompt", "completion")
_ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "system": "system",
    "developer": "system",
}
# Types of content parts that hold text.
_TEXTS = ("text", "input_text", "output_text")


class ShapeError(ValueError):
    """A row has another layout than expected; the message describes it."""


class NotText(ShapeError):
    """A message of the first exchange holds something other than text, such as an image."""


def chat_of(row: Mapping[str, Any]) -> Any:
    """The chat of a row, or None if it has none."""
    halves = [row.get(name) for name in _HALVES]
    if all(isinstance(half, list) for half in halves):
        return [turn for half in halves for turn in half or ()]
    return next((row[name] for name in CHAT if row.get(name) is not None), None)


def first_turn(chat: Any) -> tuple[str, str]:
    """The first user message of a chat and the answer to it.

    Raises:
        ShapeError: it is not a chat, or does not begin with a user message and an answer.
        NotText: one of the two holds something other than text.
    """
    turns = [turn for turn in _turns(chat) if turn[0] != "system"]
    if [role for role, _ in turns[:2]] != ["user", "assistant"]:
        roles = ", ".join(role or "unknown" for role, _ in turns[:4]) or "empty"
        raise ShapeError(f"the chat is {roles}, expected user and assistant first")
    return _text(turns[0][1], "user"), _text(turns[1][1], "assistant")


def left_out(row: Mapping[str, Any], id: str) -> Iterator[Dropped]:
    """What a pair of this row does not have: the system text, and each exchange after the first.

    Args:
        row: a row with a chat of which the first exchange can be used, or a row without a chat.
        id: the id of the row.
    """
    chat = chat_of(row)
    turns = list(_turns(chat)) if chat is not None else []
    system = [shown for role, content in turns if role == "system" and (shown := _shown(content))]
    if isinstance(row.get(SYSTEM), str) and row[SYSTEM].strip():
        system.append(row[SYSTEM])
    if system:
        yield dropped(f"{id}#system", "system_text", "a pair has no system text", "\n".join(system))
    spoken = [(role, content) for role, content in turns if role != "system"]
    number = 1
    for at, (role, content) in enumerate(spoken[2:], start=2):
        # An exchange begins with the user; what another role adds belongs to it.
        if role == "user" or at == 2:
            number += 1
            yield dropped(f"{id}#{number}", "later_turn", "it depends on the turns before it", _shown(content))


def _turns(chat: Any) -> Iterator[tuple[str, Any]]:
    """Role and content of each turn.

    Raises:
        ShapeError: a turn is not an object.
    """
    for turn in chat if isinstance(chat, list) else ():
        if not isinstance(turn, Mapping):
            raise ShapeError(f"a turn of the chat is a {type(turn).__name__}, expected an object with role and content")
        # A Parquet file whose rows have both layouts holds nulls in the keys of the other one.
        role, content = (
            next((turn[name] for name in names if turn.get(name) is not None), None)
            for names in (("role", "from"), ("content", "value"))
        )
        yield _ROLES.get(text_of(role), ""), content


def _text(content: Any, role: str) -> str:
    """The text of a message; its parts are joined by line breaks.

    Raises:
        NotText: a part is not text.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return storable(content)
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, str) and _part(part) is None:
            kind = (part.get("type") if isinstance(part, Mapping) else None) or type(part).__name__
            raise NotText(f"the {role} message holds a part of type {text_of(kind)}, expected text")
    return storable("\n".join(part if isinstance(part, str) else _part(part) or "" for part in parts))


def _part(part: Any) -> str | None:
    """The text of a content part, or None if it is none."""
    if isinstance(part, Mapping) and part.get("type", "text") in _TEXTS and isinstance(part.get("text"), str):
        return str(part["text"])
    return None


def _shown(content: Any) -> str:
    """The text of a message for a person who looks at what was left out."""
    try:
        return _text(content, "")
    except NotText:
        return text_of(content)
