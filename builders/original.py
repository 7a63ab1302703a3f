"""Files in the format of the original X-Instruction release: one JSON list per language.

    <folder>/sw.json    [{"instruction": "...", "input": "", "output": "..."}, ...]

Rows get every column of the published schema, so that views, mixes and exports take them like any others: ``id``,
``language``, ``language_code`` and ``text_hash`` are computed, and unknown columns are null. A non-empty ``input``
follows the instruction on a line of its own, as trainers join the two.
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

# Such as ``sw``, ``zh-Hant`` and ``swh_Latn``, and not ``config`` or ``train``.
LANGUAGE_NAME = re.compile(r"[a-z]{2,3}([-_][A-Z][a-z]{3})?([-_][A-Z]{2})?")

# Bytes of the longest object that is read.
MAX_OBJECT_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Original:
    """A folder with files in the original format.

    Args:
        folder: Absolute path.
        files: Tag to file, sorted by tag.
    """

    folder: Path
    files: Mapping[str, Path]

    @classmethod
    def at(cls, folder: Path) -> Original | None:
        """The files of a folder, or None if no file is named by a language.

        Raises:
            RecipeError: Two files are of one language.
        """
        files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.json")):
            tag = language_of(path.name)
            if tag is None:
                continue
            if tag in files:
                raise RecipeError(f"{files[tag]} and {path} are both in {tag!r}: remove one of them")
            files[tag] = path
        return cls(folder, dict(sorted(files.items()))) if files else None

    def languages(self) -> list[str]:
        """Sorted tags of its languages."""
        return list(self.files)

    def tag(self, name: str) -> str:
        """The tag of one of its languages, from a tag, a code or a name. ``all`` is every language.

        Raises:
            UnknownLanguage: No standard has the language.
            RecipeError: There is no file of the language.
        """
        tag = ALL if name == ALL else language(name).tag
        if tag != ALL and tag not in self.files:
            raise RecipeError(f"{self.folder} has no file {tag}.json for {name!r}, only {', '.join(self.files)}")
        return tag

    def parts(self, tag: str) -> list[tuple[str, str]]:
        """Tag and path of every file for a language or ``all``."""
        return [(each, str(path)) for each, path in self.files.items() if tag in (ALL, each)]

    def digest(self, tag: str) -> str:
        """Hex digest of the content of every file for a language or ``all``: the key of a cache of its rows."""
        total = hashlib.sha256()
        for each, path in self.parts(tag):
            try:
                total.update(f"{each} {file_digest(Path(path))}\n".encode())
            except OSError as error:
                raise ShardError(f"cannot read {path}: {error.strerror or error}") from error
        return total.hexdigest()


def language_of(name: str) -> str | None:
    """Tag of the language of a file in this format, from its name, or None."""
    stem, _, suffix = name.rpartition(".")
    if suffix != "json" or not LANGUAGE_NAME.fullmatch(stem) or stem == ALL:
        return None
    try:
        return language(stem).tag
    except UnknownLanguage:
        return None


def list_on_hub(repository: str, revision: str | None = None, token: Any = None) -> dict[str, str]:
    """Tag to file in this format in a data set on the Hub, sorted by tag."""
    from huggingface_hub import HfApi

    names = HfApi(token=token).list_repo_files(repository, repo_type="dataset", revision=revision)
    return dict(sorted((tag, name) for name in sorted(names) if (tag := language_of(name))))


def download(repository: str, files: Mapping[str, str], revision: str | None = None, token: Any = None) -> Original:
    """Download files in this format from a data set on the Hub into the client's cache."""
    from huggingface_hub import snapshot_download

    names = list(files.values())
    options = {"repo_type": "dataset", "revision": revision, "token": token, "allow_patterns": names}
    folder = Path(snapshot_download(repository, **options))
    return Original(folder, {tag: folder / name for tag, name in files.items()})


def find_source(path: str | Path) -> Source | Original:
    """The rows at a path: a run, a built folder, or files in the original format.

    Raises:
        RecipeError: It is none of these.
    """
    folder = Path(path).expanduser().resolve()
    if not (folder / CURATED.path).is_dir() and not (folder / MANIFEST).is_file():
        original = Original.at(folder)
        if original is not None:
            return original
        if others := sorted(folder.glob("*.json")):
            raise RecipeError(
                f"{path} is neither a built data set nor a run, and has JSON files such as {others[0].name}: expected "
                "files named by a language, such as sw.json"
            )
    return Source.at(folder)


def rows(path: str | Path, tag: str) -> Iterator[dict[str, Any]]:
    """The rows of one file in the published schema, one at a time.

    Raises:
        ShardError: The file is damaged, or an object is not a row. The message names the line and column.
    """
    constant = {"language": tag, "language_code": language(tag).code}
    for number, where, row in _objects(Path(path)):
        instruction, input_text, output = (_text(row, key, where) for key in ("instruction", "input", "output"))
        digest = text_digest(output)
        # A release may have the same response twice, and the number keeps ids unique.
        known = {"id": f"{tag}-{digest[:16]}-{number}", "text_hash": digest, "output": output, **constant}
        known["instruction"] = f"{instruction}\n{input_text}" if input_text else instruction
        yield {column.name: known.get(column.name) for column in COLUMNS}


def _objects(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The objects of a file, each with its number from 0 and its place for messages."""
    try:
        with open(path, "rb") as stream:
            for number, item in enumerate(items(stream, str(path), MAX_OBJECT_BYTES)):
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
        problem = f"{key!r} is {type(value).__name__}" if key in row else f"has no {key!r}"
        raise ShardError(f"{where} {problem}, expected text; its keys are {', '.join(map(repr, row)) or 'none'}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ShardError(
            f"{where} {key!r} has half a surrogate pair at character {error.start + 1}: fix the text"
        ) from None
    return value
