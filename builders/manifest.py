"""The manifest of a built folder: what every file and every config must hold, and what the card shows.

A published manifest comes from anyone who may write there. ``parse`` checks every type and range before its facts
reach a card.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from x_instruction.builders.files import Count
from x_instruction.builders.schema import ALL, VERSION
from x_instruction.cards.facts import LanguageSet, splits_of
from x_instruction.errors import ShardError, UnknownLanguage
from x_instruction.hashing import digest, sealed, unsealed
from x_instruction.languages import language
from x_instruction.storage.atomic import atomic

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one split of one config.

    Args:
        rows: Number of rows.
        content: Digest of all of them in order (``schema.Content``). For all languages together it is a digest of
            their digests, so that it is known without their rows.
    """

    rows: Count
    content: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a built folder must hold.

    Args:
        default: The default config.
        pretty_name: Title.
        configs: Config to split to its rows.
        files: Path to SHA-256 of every file but the manifest.
        languages: Tag to what the card shows of the language, the default first.
        version: Version of the layout.
    """

    default: str
    pretty_name: str
    configs: dict[str, dict[str, Rows]]
    files: dict[str, str]
    languages: dict[str, LanguageSet]
    version: str = VERSION

    @classmethod
    def of(cls, sets: Mapping[str, LanguageSet], pretty_name: str, texts: Mapping[str, bytes]) -> Self:
        """The manifest of some languages.

        Args:
            sets: Tag to language, the default first.
            pretty_name: Title.
            texts: Every file beside the rows.
        """
        configs = {
            tag: {split: Rows(part.rows, part.content) for split, part in language_set.splits.items()}
            for tag, language_set in sets.items()
        }
        configs[ALL] = {
            split: together([splits[split] for splits in configs.values() if split in splits])
            for split in splits_of(sets.values())
        }
        files = {path: hashlib.sha256(text).hexdigest() for path, text in texts.items()}
        for language_set in sets.values():
            files |= language_set.files
        return cls(next(iter(sets)), pretty_name, configs, files, dict(sets))

    def members(self, config: str, split: str) -> list[Rows]:
        """The rows of each language in a split of a config, in their order."""
        tags = self.languages if config == ALL else [config]
        return [self.configs[tag][split] for tag in tags if split in self.configs[tag]]

    def encoded(self) -> bytes:
        """The content of its file, with a checksum."""
        return f"{json.dumps(sealed(_ADAPTER.dump_python(self)), indent=1, ensure_ascii=True)}\n".encode()

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        with atomic(folder / MANIFEST) as stream:
            stream.write(self.encoded())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a built folder.

        Raises:
            ShardError: It is missing or damaged.
        """
        path = folder / MANIFEST
        try:
            return cls.parse(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ShardError(f"cannot read {path}: {error}; build the data set again") from error

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """The manifest of an encoded file. Those of earlier versions have no checksum.

        Raises:
            ValueError: It is damaged, or another version wrote it.
        """
        try:
            manifest = _ADAPTER.validate_python(unsealed(json.loads(data)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(
                f"not a manifest of this version: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            ) from error
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not a manifest of this version ({error})") from error
        for tag, language_set in manifest.languages.items():
            if not tag == language_set.tag == _canonical(tag):
                raise ValueError(
                    f"the language {tag!r} is not named by its tag ({_canonical(tag)!r}, {language_set.tag!r})"
                )
        return manifest


_ADAPTER = TypeAdapter(Manifest)


def _canonical(tag: str) -> str:
    try:
        return language(tag).tag
    except UnknownLanguage as error:
        raise ValueError(str(error)) from error


def together(parts: list[Rows]) -> Rows:
    """The rows of several languages as one."""
    return Rows(sum(part.rows for part in parts), digest([part.content for part in parts]))
