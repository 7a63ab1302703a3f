"""Files of seeds: which there are for a language, and their rows."""

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
    """Local files of a language's seeds, patterns in their order and each one's files by name; none is no error.

    Args:
        patterns: as ``seeds.paths``, with placeholders and wildcards.

    Raises:
        RecipeError: a placeholder that is not known.
        CorpusError: a match is not a file.
    """
    found: list[Path] = []
    for pattern in patterns:
        filled = fill(pattern, language)
        matches = sorted(map(Path, glob.glob(filled, recursive=True))) if glob.has_magic(filled) else [Path(filled)]
        found += [path for path in matches if path.exists()]
    for path in found:
        if path.is_dir():
            raise CorpusError(folder_in_paths(path))
        check_regular(path)
    return list(dict.fromkeys(found))


def read_rows(path: Path, columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    """Rows of one file of any format that a corpus may have, except plain text.

    Args:
        path: the file.
        columns: columns to read; others may be left out of the rows.
        limit: bytes of the longest row that is read.

    Raises:
        CorpusError: no such file, an unknown suffix, or a damaged file.
    """
    if suffix(path.name).startswith(".txt"):
        raise CorpusError(f"{path} is plain text; expected named columns: .jsonl, .json, .csv, .tsv or .parquet")
    check_regular(path)
    try:
        with open(path, "rb") as stream:
            yield from rows(stream, str(path), _present(path, stream, columns), limit)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}; name a file") from None


def _present(path: Path, stream: IO[bytes], columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns, those that a Parquet file has first: its reader expects the first one to be there."""
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
