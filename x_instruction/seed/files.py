"""Rows of a local file: what the corpus reads, and JSON arrays besides."""

from __future__ import annotations

import glob
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from x_instruction.corpus.files import fill
from x_instruction.corpus.readers import CHUNK, SUFFIXES, Row, RowError, rows
from x_instruction.errors import CorpusError
from x_instruction.languages import Language

_SPACE = " \t\r\n"


def seed_files(patterns: tuple[str, ...], language: Language) -> list[Path]:
    """Local files of a language's seeds, patterns in their order and each one's files by name; none is no error.

    Args:
        patterns: as ``seeds.paths``, with placeholders and wildcards.

    Raises:
        RecipeError: a placeholder that is not known.
        CorpusError: a folder.
    """
    found: list[Path] = []
    for pattern in patterns:
        filled = fill(pattern, language)
        matches = sorted(map(Path, glob.glob(filled, recursive=True))) if glob.has_magic(filled) else [Path(filled)]
        found += [path for path in matches if path.exists()]
    for path in found:
        if path.is_dir():
            raise CorpusError(f"{path} is a folder, wanted files of seeds: write {path}/*.jsonl for example")
    return list(dict.fromkeys(found))


def read_rows(path: Path, columns: tuple[str, ...], limit: int) -> Iterator[Row]:
    """Rows of one file: ``.json`` (an array, or one object a line), ``.jsonl``, its compressed forms, ``.parquet``.

    Args:
        path: the file.
        columns: columns that are wanted where there are many; others may be left out.
        limit: bytes of the longest row that is read.

    Raises:
        CorpusError: no such file, an unknown suffix, or a damaged file.
    """
    try:
        with open(path, "rb") as stream:
            if path.name.lower().endswith(".json"):
                yield from _json(stream, str(path), limit)
            elif path.name.lower().endswith(".txt"):
                raise CorpusError(f"{path} is plain text, wanted .json, .jsonl or .parquet with named columns")
            else:
                yield from rows(stream, str(path), _present(path, stream, columns), limit)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}; name a file") from None


def _present(path: Path, stream: IO[bytes], columns: tuple[str, ...]) -> tuple[str, ...]:
    """The wanted columns with one first that a Parquet file has, by which the reader knows that it has any."""
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


def _json(stream: IO[bytes], name: str, limit: int) -> Iterator[Row]:
    head = stream.read(CHUNK)
    stream.seek(0)
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        yield from SUFFIXES[".jsonl"](stream, (), limit)
        return
    try:
        with io.TextIOWrapper(stream, "utf-8-sig") as text:
            yield from _array(text, name, limit)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{name} is not UTF-8 (byte {error.start} of a part): write it anew") from None


def _array(text: io.TextIOWrapper, name: str, limit: int) -> Iterator[Row]:
    """Objects of an array, one at a time; a file that is broken ends with the line where it is."""
    decoder = json.JSONDecoder()
    buffer, place, line, number, state = text.read(CHUNK), 0, 1, 0, "open"
    while True:
        while place < len(buffer) and buffer[place] in _SPACE:
            line += buffer[place] == "\n"
            place += 1
        here = buffer[place : place + 1]
        if here and state == "open":
            place, state = place + 1, "first"
        elif here == "]" and state in ("first", "after"):
            return
        elif here and state == "after":
            if here != ",":
                raise _broken(name, line, "a comma is missing between rows")
            place, state = place + 1, "row"
        else:
            try:
                value, end = decoder.raw_decode(buffer, place)
            except RecursionError:
                raise _broken(name, line, "nested too deep") from None
            except json.JSONDecodeError as error:
                # The row may only be cut off: it is tried again with more, twice as much each time.
                more = text.read(max(CHUNK, len(buffer) - place))
                if not more:
                    raise _broken(name, line + buffer.count("\n", place, error.pos), error.msg) from None
                if len(buffer) - place > limit:
                    raise _broken(name, line, f"a row of more than {limit} bytes, or one that never ends") from None
                buffer, place = buffer[place:] + more, 0
                continue
            number += 1
            yield number, _row(value, buffer[place:end], limit)
            line += buffer.count("\n", place, end)
            place, state = end, "after"


def _broken(name: str, line: int, why: str) -> CorpusError:
    return CorpusError(f"{name}, line {line}: not a valid JSON array of rows ({why}); mend it or write JSON lines")


def _row(value: object, source: str, limit: int) -> dict[str, Any] | RowError:
    if not isinstance(value, dict):
        return RowError("malformed_json", f"a {type(value).__name__}, wanted an object", source[:1_000])
    if len(source) > limit:
        return RowError("line_too_long", f"{len(source)} characters, at most {limit}", source[:200])
    return value
