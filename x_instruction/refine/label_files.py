"""Files of labelled pairs: JSON lines or Parquet, one row per pair."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from x_instruction.config.fields import MAX_ROW_BYTES
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.refine.labels import LEVELS, Example
from x_instruction.seed.files import read_rows
from x_instruction.storage.atomic import atomic

COLUMNS = ("id", "language", "instruction_language", "instruction", "text", "level")
# Columns that only files of this package have.
ORIGIN = ("document", "strategy")


def write(examples: Sequence[Example], path: Path) -> None:
    """Write examples as JSON lines, atomically.

    Raises:
        RecipeError: the name does not end in ``.jsonl``.
    """
    if path.suffix != ".jsonl":
        raise RecipeError(f"cannot write {path}: expected a name that ends in .jsonl")
    with atomic(path) as stream:
        for example in examples:
            stream.write(json.dumps(dataclasses.asdict(example), ensure_ascii=False).encode() + b"\n")


def read(path: Path) -> list[Example]:
    """Read the examples of a file, in order.

    Raises:
        CorpusError: the file or a row cannot be read, or there is none. No row is skipped, since the metrics of a part
            of the labels would be misleading.
    """
    examples = []
    for position, row in read_rows(path, (*COLUMNS, *ORIGIN), MAX_ROW_BYTES):
        where = f"{path}, row {position}"
        if isinstance(row, RowError):
            raise CorpusError(f"{where}: {row.reason}, {row.detail}; correct the file")
        examples.append(_example(row, where))
    if not examples:
        raise CorpusError(f"{path} holds no labelled pairs: `x-instruction seeds labels` writes some")
    return examples


def _example(row: Mapping[str, Any], where: str) -> Example:
    missing = [name for name in COLUMNS if row.get(name) is None]
    if missing:
        available = ", ".join(map(repr, row)) or "none"
        raise CorpusError(f"{where}: {missing[0]!r} is missing, expected {', '.join(COLUMNS)}; got {available}")
    other = [name for name in COLUMNS if name != "id" and not isinstance(row[name], str)]
    if other:
        raise CorpusError(f"{where}: {other[0]} is a {type(row[other[0]]).__name__}, expected text")
    if row["level"] not in LEVELS:
        raise CorpusError(f"{where}: level is {row['level']!r}, expected one of {', '.join(LEVELS)}")
    if not row["text"].strip() or not row["instruction"].strip():
        raise CorpusError(f"{where}: instruction or text is empty: remove the row")
    try:
        tag, instruction_tag = language(row["language"]).tag, language(row["instruction_language"]).tag
    except RecipeError as error:
        raise CorpusError(f"{where}: {error}") from None
    id = str(row["id"])
    return Example(
        id=id,
        document=str(row.get("document") or id),
        language=tag,
        instruction_language=instruction_tag,
        instruction=row["instruction"],
        text=row["text"],
        level=row["level"],
        strategy=str(row.get("strategy") or ""),
    )
