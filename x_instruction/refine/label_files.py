"""Labelled pairs in files: JSON lines, or Parquet, with a row for each pair."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from x_instruction.config.section import MAX_ROW_BYTES
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.refine.labels import LEVELS, Example
from x_instruction.seed.files import read_rows
from x_instruction.storage.atomic import atomic

COLUMNS = ("id", "language", "instruction_language", "instruction", "text", "level")
# What the package's own files say besides, and others need not.
ORIGIN = ("document", "builder")


def write(examples: Sequence[Example], path: Path) -> None:
    """Write examples as JSON lines; the file appears when it is whole.

    Raises:
        RecipeError: the name is not that of JSON lines.
    """
    if path.suffix != ".jsonl":
        raise RecipeError(f"{path} is not .jsonl, which labelled pairs are written as")
    with atomic(path) as stream:
        for example in examples:
            stream.write(json.dumps(dataclasses.asdict(example), ensure_ascii=False).encode() + b"\n")


def read(path: Path) -> list[Example]:
    """Examples of a file, in its order.

    Raises:
        CorpusError: it cannot be read, a row is of another shape, or there is none: labels that are not all looked at
            measure something else.
    """
    found = []
    for position, row in read_rows(path, (*COLUMNS, *ORIGIN), MAX_ROW_BYTES):
        where = f"{path}, row {position}"
        if isinstance(row, RowError):
            raise CorpusError(f"{where}: {row.reason}, {row.detail}; mend the file")
        found.append(_example(row, where))
    if not found:
        raise CorpusError(f"{path} holds no labelled pairs: `x-instruction seeds labels` writes some")
    return found


def _example(row: Mapping[str, Any], where: str) -> Example:
    missing = [name for name in COLUMNS if row.get(name) is None]
    if missing:
        there = ", ".join(map(repr, row)) or "none"
        raise CorpusError(f"{where}: no {missing[0]!r}, wanted {', '.join(COLUMNS)}; there are {there}")
    other = [name for name in COLUMNS if name != "id" and not isinstance(row[name], str)]
    if other:
        raise CorpusError(f"{where}: {other[0]} is a {type(row[other[0]]).__name__}, wanted text")
    if row["level"] not in LEVELS:
        raise CorpusError(f"{where}: level is {row['level']!r}, wanted one of {', '.join(LEVELS)}")
    if not row["text"].strip() or not row["instruction"].strip():
        raise CorpusError(f"{where}: instruction or text is empty: remove the row")
    try:
        tag, asked = language(row["language"]).tag, language(row["instruction_language"]).tag
    except RecipeError as error:
        raise CorpusError(f"{where}: {error}") from None
    id = str(row["id"])
    return Example(
        id=id,
        document=str(row.get("document") or id),
        language=tag,
        instruction_language=asked,
        instruction=row["instruction"],
        text=row["text"],
        level=row["level"],
        builder=str(row.get("builder") or ""),
    )
