"""What all sections share: validation, errors that name the key, and settings as plain data.

A section is a frozen pydantic model. The docstring under a field is the description of its key, in the docs and in the
JSON Schema.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from x_instruction.config.renamed import RENAMED_KEYS, RENAMED_PROMPTS, RENAMED_VALUES
from x_instruction.errors import RecipeError, UnknownLanguage
from x_instruction.languages import language

# Instructions in the language of their responses.
SAME = "same"
MAX_ROW_BYTES = 16_000_000
# Longer values are shortened in messages.
_SHOWN = 80


class Section(BaseModel):
    """Settings that belong together. Wrong values raise ``RecipeError``."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explain(type(self), error) from None

    # pydantic then calls this for the outermost section only, and the errors of inner ones carry the whole key.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def replace(self, **changes: Any) -> Self:
        """A copy with some values changed, validated as a whole.

        Raises:
            RecipeError: unknown key, wrong type or value out of range.
        """
        return type(self)(**{**dict(self), **changes})


# What a key affects, where that is not the records that a stage makes: ``engines.fingerprint`` reads it.

# Where, how fast or at what price something runs. Records differ by rounding at most, so moving a run to a larger
# machine makes nothing again. A data type is never declared so.
RUNTIME_ONLY = Field(json_schema_extra={"runtime_only": True})
# The model that a stage trains. Records know that model by its content.
TRAINING_ONLY = Field(json_schema_extra={"affects": ["model"]})
# Both.
ALSO_TRAINING = Field(json_schema_extra={"affects": ["records", "model"]})
# Which outputs a run makes, or from which inputs. Records know these inputs by their content.
INPUT_ONLY = Field(json_schema_extra={"affects": []})


def affects(kind: type[Section], key: str) -> list[str]:
    """The outputs that a key is declared to affect: ``records``, ``model`` (which a stage trains), both or neither."""
    extra = kind.model_fields[key].json_schema_extra
    declared: Any = extra if isinstance(extra, dict) else {}
    return [] if declared.get("runtime_only") else declared.get("affects", ["records"])


AnySection = TypeVar("AnySection", bound=Section)


def validate(
    kind: type[AnySection], table: Mapping[str, Any], overrides: Mapping[str, Any] | None = None
) -> AnySection:
    """Build a section from plain data, such as parsed TOML or JSON.

    Args:
        kind: the section's class.
        table: keys and values; not changed.
        overrides: dotted key to value, such as ``{"generate.candidates": 8}``.

    Raises:
        RecipeError: unknown key, wrong type or value out of range.
    """
    plain = _copied(table)
    for key, value in (overrides or {}).items():
        _override(plain, key, value)
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        raise explain(kind, error) from None


def _copied(value: Any) -> Any:
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _override(table: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        # An optional section that is not set is null.
        if table.get(part) is None:
            table[part] = {}
        table = table[part]
        if not isinstance(table, dict):
            raise RecipeError(f"cannot set {key}: {part} is a value, not a section")
    table[last] = value


def toml_value(text: str) -> Any:
    """The value that KEY=VALUE on the command line sets: TOML, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


class Invalid(ValueError):
    """Raised by a section's validator for one of its keys.

    Args:
        key: the key within the section.
        problem: continues the sentence that begins with the key, such as ``is 3, expected at most 2``.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


# Types of fields. The message about a wrong value follows from the constraint.


def _known_tag(value: str) -> str:
    try:
        return language(value).tag
    except UnknownLanguage as error:
        # pydantic reports the key of a ValueError only.
        raise ValueError from error


def _known_or_same(value: str) -> str:
    return value if value == SAME else _known_tag(value)


def _current_prompt(value: str) -> str:
    if value in RENAMED_PROMPTS:
        raise ValueError(f"is {value!r}, which is called {RENAMED_PROMPTS[value]!r} now")
    return value


def _not_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("is nan, expected a number")
    return value


Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
NotNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
AnyFloat = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_not_nan)]
Tag = Annotated[str, AfterValidator(_known_tag)]
TagOrSame = Annotated[str, AfterValidator(_known_or_same)]
# The name of a prompt, or the path of its file.
Prompt = Annotated[str, AfterValidator(_current_prompt)]
# TOML and JSON have lists; settings are hashable.
Strings = Annotated[tuple[str, ...], Field(strict=False)]
Tags = Annotated[tuple[Tag, ...], Field(strict=False), AfterValidator(lambda tags: tuple(dict.fromkeys(tags)))]
RowBytes = Annotated[Positive, Field(description="A longer row or line of a file is dropped unread.")]


def asked_in(instruction_language: str, tag: str) -> str:
    """The language of instructions to responses in the language of ``tag``."""
    return tag if instruction_language == SAME else instruction_language


# Errors.


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


def explain(kind: type[Section], error: ValidationError) -> RecipeError:
    """The first error in one line: a misspelt key before a wrong value before a missing key."""
    errors = error.errors(include_url=False)
    order = {"extra_forbidden": 0, "missing": 2}
    return _explained(kind, min(errors, key=lambda each: order.get(each["type"], 1)))


def _explained(kind: type[Section], error: Any) -> RecipeError:
    path, context = error["loc"], error.get("ctx", {})
    key = dotted(path)
    match error["type"]:
        case "extra_forbidden":
            return RecipeError(_unknown(kind, path))
        case "missing":
            return RecipeError(f"{key} is missing and has no default")
        case "value_error":
            return _invalid(path, context["error"])
        case "model_type":
            return RecipeError(f"{key} is {_shown(error['input'])}, expected a section [{key}]")
    if new := RENAMED_VALUES.get(_owner(kind, path).__name__, {}).get(_name(path), {}).get(str(error["input"])):
        return RecipeError(f"{key} is {_shown(error['input'])}, which is called {new!r} now")
    expected = _EXPECTED.get(error["type"])
    what = f"expected {expected.format(**context)}" if expected else error["msg"]
    return RecipeError(f"{key} is {_shown(error['input'])}, {what}")


def _invalid(path: tuple[int | str, ...], error: ValueError) -> RecipeError:
    """What a validator says about the section or value at a path."""
    if isinstance(error.__cause__, UnknownLanguage):
        return UnknownLanguage(f"{dotted(path)}: {error.__cause__}")
    if isinstance(error, Invalid):
        path = (*path, *error.key.split("."))
    return RecipeError(f"{dotted(path) or 'the recipe'} {error}")


def _unknown(kind: type[Section], path: tuple[int | str, ...]) -> str:
    owner, name = _owner(kind, path), str(path[-1])
    if new := RENAMED_KEYS.get(owner.__name__, {}).get(name):
        return f"{dotted(path)} is called {dotted((*path[:-1], new))} now"
    known = list(owner.model_fields)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"unknown key {dotted(path)}{hint} (known here: {', '.join(known)})"


def dotted(path: tuple[int | str, ...]) -> str:
    """A key as users write it, such as ``generate.model.name`` or ``languages[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _name(path: tuple[int | str, ...]) -> str:
    """The last key of a path, without the index into its list."""
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def _owner(kind: type[Section], path: tuple[int | str, ...]) -> type[Section]:
    """The section that holds the last key of a path."""
    keys = [part for part in path if isinstance(part, str)]
    for key in keys[:-1]:
        kind = section_of(kind, key) or kind
    return kind


def section_of(kind: type[Section], key: str) -> type[Section] | None:
    """The class of a nested section, or None where the key holds a value."""
    annotation = kind.model_fields[key].annotation
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, Section):
            return each
    return None


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


# Plain data.


def dumps(settings: Section) -> str:
    """Settings as JSON with every default written out; ``loads`` reads them back."""
    return json.dumps(settings.model_dump(), indent=1, ensure_ascii=False)


def loads(kind: type[AnySection], text: str) -> AnySection:
    """Settings of any kind from what ``dumps`` wrote.

    Raises:
        RecipeError: unknown key, wrong type or value out of range.
        ValueError: not JSON.
    """
    table = json.loads(text)
    if not isinstance(table, dict):
        raise RecipeError(f"settings are {_shown(table)}, expected an object")
    return validate(kind, table)


def flatten(settings: Section | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings as dotted keys to plain values."""
    flat: dict[str, Any] = {}
    for key, value in _items(settings):
        if isinstance(value, Section | Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _items(settings: Section | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from settings.items() if isinstance(settings, Mapping) else settings


def portable(settings: Section) -> dict[str, Any]:
    """Settings for publication: without unset keys, server addresses and folders of this machine."""
    plain: dict[str, Any] = _portable(settings.model_dump())
    return plain


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items() if item is not None and key != "url"}
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    # A lone surrogate is not a character, and no file format can hold one.
    return without_folder(value).encode("utf-8", "replace").decode() if isinstance(value, str) else value


# Paths of Unix and Windows; a Hub id and a path within the working folder are none.
_FOLDER = re.compile(r"/|~|file:|\.\S*[/\\]|.:\\")


def without_folder(text: str) -> str:
    """A path cut to its last part, so that nothing published names a folder of this machine; other text as it is."""
    return text.replace("\\", "/").rstrip("/").rpartition("/")[2] if _FOLDER.match(text) else text
