"""Recipes of any kind: those that ship with the package, by name, and TOML files of the user."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Generic

from x_instruction.config.section import AnySection, validate
from x_instruction.errors import RecipeError


class Recipes(Generic[AnySection]):
    """Recipes of one kind.

    Args:
        kind: the root section.
        title: what messages call it.
        folder: where the shipped ones are, within the package's ``recipes``.
    """

    def __init__(self, kind: type[AnySection], title: str, folder: str = "") -> None:
        self._kind, self._title, self._folder = kind, title, folder

    def names(self) -> list[str]:
        """Names of the recipes that ship with the package."""
        folder = resources.files("x_instruction.recipes").joinpath(self._folder)
        return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))

    def text_of(self, source: str | Path) -> str:
        """The TOML of a recipe: a shipped one's by its name, or a file's.

        Raises:
            RecipeError: there is no such recipe, or it is not UTF-8.
        """
        names = self.names()
        if isinstance(source, str) and source in names:
            shipped = resources.files("x_instruction.recipes").joinpath(self._folder, f"{source}.toml")
            return shipped.read_text("utf-8")
        try:
            return Path(source).read_text("utf-8")
        except OSError as error:
            raise RecipeError(
                f"cannot read {self._title} {source}: {error.strerror or error}; name a file, or one of "
                f"{', '.join(names)}"
            ) from None
        except UnicodeDecodeError:
            raise RecipeError(f"{self._title} {source} is not UTF-8 text") from None

    def load(
        self, source: str | Path | Mapping[str, Any] | AnySection, overrides: Mapping[str, Any] | None = None
    ) -> AnySection:
        """A recipe, validated.

        Args:
            source: a TOML file, the name of a recipe that ships with the package, a dict of its keys, or a recipe.
            overrides: dotted key to value, such as ``{"generate.candidates": 8}``.

        Raises:
            RecipeError: unreadable file, unknown key, wrong type or value out of range.
        """
        if isinstance(source, self._kind):
            return validate(self._kind, source.model_dump(), overrides) if overrides else source
        if isinstance(source, Mapping):
            return validate(self._kind, source, overrides)
        if not isinstance(source, str | Path):
            raise RecipeError(f"the {self._title} is {source!r}, expected a path, a name, a dict or a recipe")
        try:
            table = tomllib.loads(self.text_of(source))
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{self._title} {source} is not valid TOML: {error}") from None
        return validate(self._kind, table, overrides)
