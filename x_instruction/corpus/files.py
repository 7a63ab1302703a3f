"""Files of a corpus: patterns with placeholders for the language, local or on any file system of fsspec."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import Language
from x_instruction.storage.atomic import file_digest
from x_instruction.storage.known_digests import known_digest

# File systems that only read bytes, and what may be put before them with ``::``.
_CLOUD = {"abfs", "abfss", "adl", "az", "gcs", "gs", "oci", "oss", "r2", "s3", "s3a"}
_PROTOCOLS = {"file", "local", "memory", "hdfs", "webhdfs", "hf", "http", "https"} | _CLOUD
_LAYERS = {"blockcache", "filecache", "simplecache", "zip"}


def fill(pattern: str, language: Language) -> str:
    """Fill in the placeholders of a path or config name, such as ``{tag}``.

    Raises:
        RecipeError: unknown placeholder.
    """
    values = {"tag": language.tag, "code": language.code, "iso639_3": language.iso639_3, "name": language.name}

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            raise RecipeError(f"unknown placeholder {match[0]} in {pattern!r}, expected one of {known}")
        return values[match[1]]

    return re.sub(r"\{(\w+)\}", value, pattern)


def find(paths: tuple[str, ...], language: Language, key: str = "corpus.paths") -> list[tuple[Any, str]]:
    """File system and path of every file: patterns in the given order, the files of each sorted by name.

    Args:
        paths: paths and patterns.
        language: fills in the placeholders.
        key: the key of the recipe that has the paths, for messages.

    Raises:
        CorpusError: a pattern matches no file, or something that is not a file.
        RecipeError: unknown placeholder.
    """
    import fsspec

    files: list[tuple[Any, str]] = []
    for pattern in paths:
        filled = fill(pattern, language)
        _check_protocols(filled, key)
        try:
            filesystem, path = fsspec.core.url_to_fs(filled)
            matches = sorted(filesystem.glob(path)) if fsspec.core.has_magic(path) else [path]
            present = [match for match in matches if filesystem.exists(match)]
        except (OSError, ValueError, ImportError) as error:
            raise CorpusError(f"cannot look up {filled}: {error}") from error
        if not present:
            raise CorpusError(f"no file matches {filled}: check {key} and the placeholders in it")
        for match in present:
            if filesystem.isdir(match):
                raise CorpusError(folder_in_paths(match))
            if is_local(filesystem):
                check_regular(Path(match))
        files.extend((filesystem, match) for match in present)
    return list({path: (filesystem, path) for filesystem, path in files}.values())


def _check_protocols(path: str, key: str) -> None:
    """Refuse file systems that run commands, open shells or build objects from what they read."""
    for part in path.split("::"):
        protocol = part.partition("://")[0] if "://" in part else part if part in _LAYERS else "file"
        if protocol not in _PROTOCOLS | _LAYERS:
            raise CorpusError(
                f"{key} has {path!r}: the protocol {protocol!r} is not read, expected a local path or "
                f"one of {', '.join(sorted(_PROTOCOLS))}"
            )


def folder_in_paths(folder: str | Path) -> str:
    """The message for a folder among paths of files."""
    return f"{folder} is a folder, expected files: write a pattern such as {str(folder).rstrip('/')}/*.jsonl"


def check_regular(path: Path) -> None:
    """Refuse devices, pipes and sockets: they are read more than once, and some have no end.

    Raises:
        CorpusError: the path exists and is neither a regular file nor a folder.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise CorpusError(f"{path} is not a regular file: save what it gives to a file and name that")


def is_local(filesystem: Any) -> bool:
    """True if a file system is that of this machine."""
    protocol = filesystem.protocol
    return "file" in (protocol if isinstance(protocol, tuple | list) else (protocol,))


def digest(path: Path) -> str:
    """SHA-256 of a local file, hex. A large file is read again only if its size or time has changed.

    Raises:
        CorpusError: the file cannot be read.
    """
    check_regular(path)
    try:
        return known_digest(path, lambda: file_digest(path))
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error


def remote_key(filesystem: Any, path: str) -> str:
    """Identifies the content of a remote file: by its ETag and size, or else by all that its store tells."""
    info = filesystem.info(path)
    tag = info.get("ETag")
    return f"{tag}-{info.get('size')}" if tag else f"{filesystem.ukey(path)}"
