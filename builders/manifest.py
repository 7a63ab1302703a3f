"""The manifest of a built folder: what every file and every config must hold, to compare with what is read back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from x_instruction.builders.schema import ALL, VERSION
from x_instruction.cards.facts import LanguageSet, splits_of
from x_instruction.errors import ShardError, UnknownLanguage
from x_instruction.hashing import digest
from x_instruction.storage.atomic import atomic

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one split of one config.

    Args:
        rows: how many.
        content: digest of all of them in order (``schema.Content``); of all languages together that of theirs, which
            is known without their rows.
    """

    rows: int
    content: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a built folder must hold.

    Args:
        default: the default config.
        pretty_name: title.
        configs: config to split to its rows.
        files: path to SHA-256 of every file but the manifest.
        languages: tag to what the card tells of it, as ``LanguageSet.plain`` gives it, in the order of the card.
        version: version of the layout.
    """

    default: str
    pretty_name: str
    configs: dict[str, dict[str, Rows]]
    files: dict[str, str]
    languages: dict[str, dict[str, Any]]
    version: str = VERSION

    @classmethod
    def of(cls, sets: Mapping[str, LanguageSet], pretty_name: str, texts: Mapping[str, bytes]) -> Self:
        """The manifest of some languages.

        Args:
            sets: tag to language, the default first.
            pretty_name: title.
            texts: every file beside the rows.
        """
        configs = {
            tag: {split: Rows(part.rows, part.content) for split, part in one.splits.items()}
            for tag, one in sets.items()
        }
        configs[ALL] = {
            split: together([splits[split] for splits in configs.values() if split in splits])
            for split in splits_of(sets.values())
        }
        files = {path: hashlib.sha256(text).hexdigest() for path, text in texts.items()}
        for one in sets.values():
            files |= one.files
        plain = {tag: one.plain() for tag, one in sets.items()}
        return cls(next(iter(sets)), pretty_name, configs, files, plain)

    def sets(self) -> dict[str, LanguageSet]:
        """Its languages, the default first."""
        return {tag: LanguageSet.read(tag, plain) for tag, plain in self.languages.items()}

    def members(self, config: str, split: str) -> list[Rows]:
        """The rows of each language in a split of a config, in their order."""
        tags = self.languages if config == ALL else [config]
        return [self.configs[tag][split] for tag in tags if split in self.configs[tag]]

    def encoded(self) -> bytes:
        """As it is written."""
        return f"{json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=True)}\n".encode()

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        with atomic(folder / MANIFEST) as stream:
            stream.write(self.encoded())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a built folder.

        Raises:
            ShardError: it is missing or damaged.
        """
        path = folder / MANIFEST
        try:
            return cls.parse(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ShardError(f"cannot read {path}: {error}; build the data set again") from error

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """The manifest that ``encoded`` gave.

        Raises:
            ValueError: it is damaged, or of a version that did not write all of this.
        """
        try:
            loaded = json.loads(data)
            configs = {
                str(name): {str(split): Rows(**rows) for split, rows in splits.items()}
                for name, splits in loaded["configs"].items()
            }
            default, pretty_name, version = (str(loaded[name]) for name in ("default", "pretty_name", "version"))
            languages = {str(tag): dict(plain) for tag, plain in loaded["languages"].items()}
            manifest = cls(default, pretty_name, configs, dict(loaded["files"]), languages, version)
            manifest.sets()
        except (KeyError, TypeError, AttributeError, UnknownLanguage) as error:
            raise ValueError(f"no manifest of this version ({type(error).__name__}: {error})") from error
        return manifest


def together(parts: list[Rows]) -> Rows:
    """The rows of several languages as one."""
    return Rows(sum(part.rows for part in parts), digest([part.content for part in parts]))
