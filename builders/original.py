"""The layout of the original release: ``<lang>.json``, one list of objects with instruction, input and output.

    <folder>/sw.json    [{"instruction": "...", "input": "", "output": "..."}, ...]

Rows get every column of the published schema, so that views, mixtures and exports take them like any other: what can
be known is filled in (``id``, ``language``, ``language_code``, ``text_hash``), and the rest is null, which says "not
known" where an empty string or a zero would be a statement. A non-empty ``input`` goes after the instruction on a line
of its own, as trainers put the two together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.builders.manifest import MANIFEST
from x_instruction.builders.schema import ALL, COLUMNS
from x_instruction.builders.sources import Source
from x_instruction.corpus.json_list import items
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, RecipeError, ShardError, UnknownLanguage
from x_instruction.languages import language
from x_instruction.records import text_digest
from x_instruction.storage.atomic import file_digest
from x_instruction.storage.shard_key import CURATED

# ``sw``, ``zh-Hant``, ``swh_Latn``: names of files such as config.json or train.json are none of these.
NAME = re.compile(r"[a-z]{2,3}([-_][A-Z][a-z]{3})?([-_][A-Z]{2})?")

# Bytes of the longest object that is read.
LONGEST = 1 << 26


@dataclass(frozen=True, slots=True)
class Original:
    """A folder with files of the original layout.

    Args:
        folder: absolute path.
        files: tag to file, sorted by tag.
    """

    folder: Path
    files: Mapping[str, Path]

    @classmethod
    def at(cls, folder: Path) -> Original | None:
        """The files of a folder, or None when none is named by a language.

        Raises:
            RecipeError: two files are of one language.
        """
        files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.json")):
            tag = named(path.name)
            if tag is None:
                continue
            if tag in files:
                raise RecipeError(f"{files[tag]} and {path} are both of the language {tag!r}: remove one of them")
            files[tag] = path
        return cls(folder, dict(sorted(files.items()))) if files else None

    def languages(self) -> list[str]:
        """Tags of the languages that it holds, sorted."""
        return list(self.files)

    def tag(self, asked: str) -> str:
        """The tag of a language that it holds, from a tag, a code or a name; ``all`` is every language.

        Raises:
            UnknownLanguage: no standard knows the language.
            RecipeError: there is no file of the language.
        """
        tag = ALL if asked == ALL else language(asked).tag
        if tag != ALL and tag not in self.files:
            raise RecipeError(f"{self.folder} has no file {tag}.json for {asked!r}; it holds {', '.join(self.files)}")
        return tag

    def parts(self, tag: str) -> list[tuple[str, str]]:
        """Language and file of everything behind a config."""
        return [(one, str(path)) for one, path in self.files.items() if tag in (ALL, one)]

    def digest(self, tag: str) -> str:
        """Digest of the content of every file behind a config, hex: what a cache of it must be keyed by."""
        total = hashlib.sha256()
        for one, path in self.parts(tag):
            try:
                total.update(f"{one} {file_digest(Path(path))}\n".encode())
            except OSError as error:
                raise ShardError(f"cannot read {path}: {error.strerror or error}") from error
        return total.hexdigest()


def named(name: str) -> str | None:
    """Tag of the language that a file name of this layout stands for, or None."""
    stem, _, suffix = name.rpartition(".")
    if suffix != "json" or not NAME.fullmatch(stem) or stem == ALL:
        return None
    try:
        return language(stem).tag
    except UnknownLanguage:
        return None


def on_hub(repository: str, revision: str | None = None, token: Any = None) -> dict[str, str]:
    """Tag to file of this layout in a data set on the Hub, sorted by tag."""
    from huggingface_hub import HfApi

    names = HfApi(token=token).list_repo_files(repository, repo_type="dataset", revision=revision)
    return dict(sorted((tag, name) for name in sorted(names) if (tag := named(name))))


def download(repository: str, files: Mapping[str, str], revision: str | None = None, token: Any = None) -> Original:
    """Files of this layout in a data set on the Hub, in the client's cache."""
    from huggingface_hub import snapshot_download

    names = list(files.values())
    options = {"repo_type": "dataset", "revision": revision, "token": token, "allow_patterns": names}
    folder = Path(snapshot_download(repository, **options))
    return Original(folder, {tag: folder / name for tag, name in files.items()})


def place(path: str | Path) -> Source | Original:
    """What rows can be loaded from at a path: a run, a built folder, or files of the original layout.

    Raises:
        RecipeError: it is none of these.
    """
    folder = Path(path).expanduser().resolve()
    if not (folder / CURATED.path).is_dir() and not (folder / MANIFEST).is_file():
        found = Original.at(folder)
        if found is not None:
            return found
        if others := sorted(folder.glob("*.json")):
            raise RecipeError(
                f"{path} is neither a built data set nor a run, and of its JSON files none is named by a language "
                f"(it holds {others[0].name}): wanted files such as sw.json"
            )
    return Source.at(folder)


def rows(path: str | Path, tag: str) -> Iterator[dict[str, Any]]:
    """The rows of one file in the published schema, one at a time.

    Raises:
        ShardError: the file is damaged, or an object is no row; it names the line and column.
    """
    known = {"language": tag, "language_code": language(tag).code}
    for number, where, row in _objects(Path(path)):
        instruction, given, output = (_text(row, key, where) for key in ("instruction", "input", "output"))
        digest = text_digest(output)
        # The number makes it unique: a release may hold one response twice.
        found = {"id": f"{tag}-{digest[:16]}-{number}", "text_hash": digest, "output": output, **known}
        found["instruction"] = f"{instruction}\n{given}" if given else instruction
        yield {column.name: found.get(column.name) for column in COLUMNS}


def _objects(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The objects of a file, each with its number from 0 and its place for messages."""
    try:
        with open(path, "rb") as stream:
            for number, item in enumerate(items(stream, str(path), LONGEST)):
                where = f"{path}, line {item.line}, column {item.column}: row {number}"
                if isinstance(item.value, RowError):
                    raise ShardError(f"{where} cannot be read ({item.value.reason}: {item.value.detail})")
                yield number, where, item.value
    except CorpusError as error:
        raise ShardError(str(error)) from error
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror or error}") from error


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if value is None and key == "input":
        return ""
    if not isinstance(value, str):
        came = f"{key!r} is {type(value).__name__}" if key in row else f"has no {key!r}"
        raise ShardError(f"{where} {came}, expected text; its keys are {', '.join(map(repr, row)) or 'none'}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ShardError(
            f"{where} {key!r} has half a surrogate pair at character {error.start + 1}: fix the text"
        ) from None
    return value
