"""What all sections share: validation, errors that name the key, and settings as plain data.

A section is a frozen pydantic model. The docstring under a field is the description of its key, in the docs and in the
JSON Schema.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from x_instruction.config.explain import explain, shown
from x_instruction.errors import RecipeError
from x_instruction.hashing import unsealed


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


def dumps(settings: Section) -> str:
    """Settings as JSON with every default written out; ``loads`` reads them back."""
    return json.dumps(settings.model_dump(), indent=1, ensure_ascii=False)


def loads(kind: type[AnySection], text: str) -> AnySection:
    """Settings of any kind from what ``dumps`` wrote.

    Raises:
        RecipeError: unknown key, wrong type or value out of range.
        ValueError: not a JSON object, or its checksum is that of other settings.
    """
    try:
        table = json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(table, dict):
        raise ValueError(f"it holds {shown(table)}, expected an object")
    return validate(kind, unsealed(table))


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


# Keys that say where a server is.
_PLACES = ("url", "endpoints_file")


def portable(settings: Section) -> dict[str, Any]:
    """Settings for publication: without unset keys, addresses of servers, passwords, and folders of this machine."""
    plain: dict[str, Any] = _portable(settings.model_dump())
    return plain


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items() if item is not None and key not in _PLACES}
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    if not isinstance(value, str):
        return value
    text = _QUERY.sub(r"\1", public_url(value)) if _ADDRESS.fullmatch(value) else value
    # A lone surrogate is not a character, and no file format can hold one.
    return without_folder(text).encode("utf-8", "replace").decode()


def public_url(url: str) -> str:
    """An address without user name and password, which private corpora may have in it."""
    return re.sub(r"(^|::)([A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*@", r"\1\2//", url)


_ADDRESS = re.compile(r"[\w+.:-]+://\S*")
# It may be a signature that lets everyone read a private file. In other addresses than of HTTP, ? is any character.
_QUERY = re.compile(r"((?i:https?)://[^?]*)\?.*")
# Paths of Unix and Windows; a Hub id and a path within the working folder are none.
_FOLDER = re.compile(r"/|~|file:|\.\S*[/\\]|.:\\")


def without_folder(text: str) -> str:
    """A path cut to its last part, so that nothing published names a folder of this machine; other text as it is."""
    return text.replace("\\", "/").rstrip("/").rpartition("/")[2] if _FOLDER.match(text) else text
