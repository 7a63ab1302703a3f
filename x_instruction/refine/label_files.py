"""Files of labelled pairs, one row per pair: made from seeds by this package, or judged by people.

A row has ``instruction``, ``text`` (or ``output`` or ``response``), ``language`` and what it is worth: a ``level``
(``best``, ``flawed`` or ``worst``), a ``label`` (``good``, ``flawed`` or ``bad``) or a ``score`` from 1 to 5. Scores of
several judges may be averaged. ``id``, ``document`` and ``instruction_language`` may be missing.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from x_instruction.config.fields import MAX_ROW_BYTES
from x_instruction.corpus.cells import text_of
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.refine.labels import JUDGED, LEVELS, Example
from x_instruction.seed.files import read_rows
from x_instruction.storage.atomic import atomic

# Names of columns by meaning, the first that a row has is read.
TEXT = ("text", "output", "response")
WORTH = ("level", "label", "score")
COLUMNS = ("instruction", *TEXT, "language", *WORTH)
OPTIONAL = ("id", "instruction_language", "document", "document_id", "strategy", "rater")
# Names of the levels in labels of people.
_LABELS = {"good": "best", "bad": "worst"} | {level: level for level in LEVELS}
# Lowest scores of the levels, halfway between 3 and 4 and between 1 and 2.
_SCORES = {"best": 3.5, "flawed": 1.5, "worst": 1.0}


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
    for position, row in read_rows(path, (*COLUMNS, *OPTIONAL), MAX_ROW_BYTES):
        where = f"{path}, row {position}"
        if isinstance(row, RowError):
            raise CorpusError(f"{where}: {row.reason}, {row.detail}; correct the file")
        try:
            examples.append(_example(row, f"{path.name}:{position}"))
        except (CorpusError, RecipeError) as error:
            raise CorpusError(f"{where}: {error}") from None
    if not examples:
        raise CorpusError(f"{path} holds no labelled pairs: `x-instruction seeds labels` writes some")
    return examples


def _example(row: Mapping[str, Any], fallback: str) -> Example:
    """The example of a row.

    Args:
        row: the row.
        fallback: its id, if it has none.
    """
    text_name = _first(row, TEXT)
    for name in ("instruction", text_name, "language", "instruction_language"):
        if row.get(name) is None and name != "instruction_language":
            raise _missing(name, row)
        if not isinstance(row.get(name) or "", str):
            raise CorpusError(f"{name} is a {type(row[name]).__name__}, expected text")
    if not row[text_name].strip() or not row["instruction"].strip():
        raise CorpusError(f"instruction or {text_name} is empty: remove the row")
    id = text_of(row.get("id")) or fallback
    return Example(
        id=id,
        document=next((text_of(row[name]) for name in ("document", "document_id") if row.get(name)), id),
        language=language(row["language"]).tag,
        instruction_language=language(row.get("instruction_language") or "en").tag,
        instruction=row["instruction"],
        text=row[text_name],
        level=_level(row),
        strategy=text_of(row.get("strategy")) or JUDGED,
    )


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of the columns that has a value; the first of all if none has."""
    return next((name for name in names if row.get(name) is not None), names[0])


def _missing(name: str, row: Mapping[str, Any]) -> CorpusError:
    available = ", ".join(map(repr, row)) or "none"
    expected = f"instruction, {' or '.join(TEXT)}, language, and {' or '.join(WORTH)}"
    return CorpusError(f"{name!r} is missing, expected {expected}; got {available}")


def _level(row: Mapping[str, Any]) -> str:
    name = _first(row, WORTH)
    worth = row.get(name)
    if worth is None:
        raise _missing(name, row)
    if name != "score":
        if not isinstance(worth, str):
            raise CorpusError(f"{name} is a {type(worth).__name__}, expected text")
        if worth not in _LABELS:
            raise CorpusError(f"{name} is {worth!r}, expected one of {', '.join((*LEVELS, 'good', 'bad'))}")
        return _LABELS[worth]
    if row.get("rater"):
        raise CorpusError(f"score is that of the rater {row['rater']!r}, not of a person: add a column level or label")
    try:
        number = float(worth) if not isinstance(worth, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not 1 <= number <= 5:
        raise CorpusError(f"score is {text_of(worth)}, expected a number from 1 (bad) to 5 (good)")
    return next(level for level, least in _SCORES.items() if number >= least)
