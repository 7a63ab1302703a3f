"""Files of seeds: the files of a language, and their rows."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from x_instruction.corpus.files import check_regular, fill, folder_in_paths
from x_instruction.corpus.readers import rows, suffix
from x_instruction.corpus.rows import Row
from x_instruction.errors import CorpusError
from x_instruction.languages import Language


def seed_files(patterns: tuple[str, ...], language: Language) -> list[Path]:
    """Local seed files of a language: patterns in the given order, the files of each sorted by name. May be empty.

    Args:
        patterns: paths with placeholders and wildcards, as in ``seeds.paths``.

    Raises:
        RecipeError: unknown placeholder.
        CorpusError: a match is not a file.
    """
    files: list[Path] = []
    for pattern in patterns:
        filled = fill(pattern, language)
        matches = sorted(map(Path, glob.glob(filled, recursive=True))) if glob.has_magic(filled) else [Path(filled)]
        files += [path for path in matches if path.exists()]
    for path in files:
        if path.is_dir():
            raise CorpusError(folder_in_paths(path))
        check_regular(path)
    return list(dict.fromkeys(files))


def read_rows(path: Path, columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    """Rows of one file of any format that a corpus may have, except plain text.

    Args:
        path: the file.
        columns: columns to read; others may be left out of the rows.
        limit: bytes of the longest row that is read.

    Raises:
        CorpusError: the file does not exist, has an unknown suffix, or is damaged.
    """
    if suffix(path.name).startswith(".txt"):
        raise CorpusError(f"{path} is plain text; expected named columns: .jsonl, .json, .csv, .tsv or .parquet")
    check_regular(path)
    try:
        with open(path, "rb") as stream:
            yield from rows(stream, str(path), _present(path, stream, columns), limit)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}; expected the path of a file") from None


def _present(path: Path, stream: IO[bytes], columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns, those that a Parquet file has first, because its reader requires the first one."""
    if not path.name.lower().endswith(".parquet"):
        return columns
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(stream).names
    except pa.ArrowException as error:
        raise CorpusError(f"cannot read {path}: {error}; the file is damaged, copy or download it again") from error
    stream.seek(0)
    return tuple(sorted(columns, key=lambda name: name not in names))
