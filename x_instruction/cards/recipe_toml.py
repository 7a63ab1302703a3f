"""A recipe as TOML that ``x-instruction run`` reads, without what is this machine's own."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from x_instruction.cards.escaping import JOINERS
from x_instruction.config.recipe import Recipe
from x_instruction.config.section import Section, without_folder


def toml(recipe: Recipe) -> str:
    """Every setting with a value, defaults too. Folders are cut to their last part, addresses of servers left out."""
    return "\n".join(_section(recipe, "")).strip()


def _section(section: Section, name: str) -> list[str]:
    values = dict(section)
    nested = {key: value for key, value in values.items() if isinstance(value, Section)}
    lines = ["", f"[{name}]"] if name else []
    lines += [f"{k} = {_value(v)}" for k, v in values.items() if k not in nested and v is not None and k != "url"]
    for key, value in nested.items():
        lines += _section(value, f"{name}.{key}" if name else key)
    return lines


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(without_folder(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def _text(text: str) -> str:
    """A TOML string on one line; what cannot be seen, or could open HTML, is written as its number."""
    # A lone surrogate is no character, and TOML cannot hold one.
    text = text.encode("utf-8", "replace").decode()
    hidden = {c for c in text if unicodedata.category(c)[0] in "CZ" and c not in JOINERS + " "} | {"<"}
    quoted = json.dumps(text, ensure_ascii=False)
    for character in hidden:
        quoted = quoted.replace(character, f"\\U{ord(character):08x}")
    return quoted
