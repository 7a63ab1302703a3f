"""Errors of validation in one line: the whole key, the value, and what is expected."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from x_instruction.config.fields import Invalid
from x_instruction.config.renamed import RENAMED_KEYS, RENAMED_VALUES
from x_instruction.errors import RecipeError, UnknownLanguage

# Longer values are shortened in messages.
_SHOWN = 80
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "float_type": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dict_type": "a table",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} value",
}


def explain(kind: type[BaseModel], error: ValidationError) -> RecipeError:
    """The first error in one line: a misspelt key before a wrong value before a missing key."""
    errors = error.errors(include_url=False)
    order = {"extra_forbidden": 0, "missing": 2}
    return _explained(kind, min(errors, key=lambda each: order.get(each["type"], 1)))


def _explained(kind: type[BaseModel], error: Any) -> RecipeError:
    path, context = error["loc"], error.get("ctx", {})
    key = _dotted(path)
    match error["type"]:
        case "extra_forbidden":
            return RecipeError(_unknown(kind, path))
        case "missing":
            return RecipeError(f"{key} is missing and has no default")
        case "value_error":
            return _invalid(path, context["error"])
        case "model_type":
            return RecipeError(f"{key} is {shown(error['input'])}, expected a section [{key}]")
    if new := RENAMED_VALUES.get(_owner(kind, path).__name__, {}).get(_name(path), {}).get(str(error["input"])):
        return RecipeError(f"{key} is {shown(error['input'])}, which was renamed to {new!r}")
    expected = _EXPECTED.get(error["type"])
    what = f"expected {expected.format(**context)}" if expected else error["msg"]
    return RecipeError(f"{key} is {shown(error['input'])}, {what}")


def _invalid(path: tuple[int | str, ...], error: ValueError) -> RecipeError:
    """What a validator says about the section or value at a path."""
    if isinstance(error.__cause__, UnknownLanguage):
        return UnknownLanguage(f"{_dotted(path)}: {error.__cause__}")
    if isinstance(error, Invalid):
        path = (*path, *error.key.split("."))
    return RecipeError(f"{_dotted(path) or 'the recipe'} {error}")


def _unknown(kind: type[BaseModel], path: tuple[int | str, ...]) -> str:
    owner, name = _owner(kind, path), str(path[-1])
    if new := RENAMED_KEYS.get(owner.__name__, {}).get(name):
        return f"{_dotted(path)} was renamed to {_dotted((*path[:-1], new))}"
    known = list(owner.model_fields)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"unknown key {_dotted(path)}{hint} (known here: {', '.join(known)})"


def _dotted(path: tuple[int | str, ...]) -> str:
    """A key as users write it, such as ``generate.model.name`` or ``languages[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _name(path: tuple[int | str, ...]) -> str:
    """The last key of a path, without the index into its list."""
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def _owner(kind: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """The section that holds the last key of a path."""
    keys = [part for part in path if isinstance(part, str)]
    for key in keys[:-1]:
        kind = section_of(kind, key) or kind
    return kind


def section_of(kind: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The class of a nested section, or None where the key holds a value."""
    annotation = kind.model_fields[key].annotation
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def shown(value: Any) -> str:
    """A value as it appears in a message."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
