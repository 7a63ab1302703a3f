"""Instructions that people corrected in a review, and that take the place of those of a run when it is built.

A file has a JSON object a line: ``passage`` (id), ``language``, ``instruction`` (as it was) and ``corrected``. The
column ``generator`` of corrected rows ends in ``+reviewed``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from x_instruction.errors import RecipeError
from x_instruction.storage.atomic import atomic

if TYPE_CHECKING:
    import pyarrow as pa

# Added to the name of the generator of a corrected row.
REVIEWED = "+reviewed"


@dataclass(frozen=True, slots=True)
class Correction:
    """A corrected instruction.

    Args:
        passage: id of the passage.
        language: tag of the passage.
        instruction: the instruction as it was.
        corrected: the instruction that takes its place.
    """

    passage: str
    language: str
    instruction: str
    corrected: str


def write(corrections: Sequence[Correction], path: Path) -> None:
    """Write corrections as JSON lines."""
    with atomic(path) as stream:
        for correction in corrections:
            stream.write(json.dumps(asdict(correction), ensure_ascii=False).encode() + b"\n")


def read(paths: Iterable[Path]) -> dict[tuple[str, str], str]:
    """Corrected instructions of some files, by id of the passage and instruction.

    Raises:
        RecipeError: a file cannot be read or has another layout, or two files correct a row in different ways.
    """
    found: dict[tuple[str, str], str] = {}
    for path in paths:
        for number, line in enumerate(_lines(path), 1):
            try:
                correction = Correction(**json.loads(line))
            except (ValueError, TypeError, RecursionError):
                raise RecipeError(
                    f"{path}, line {number} is not a correction: expected a file that `review collect` wrote"
                ) from None
            key = correction.passage, correction.instruction
            if found.setdefault(key, correction.corrected) != correction.corrected:
                raise RecipeError(
                    f"{path}, line {number}: another file corrects this row differently: name one of them"
                )
    return found


def corrected(records: pa.RecordBatch, corrections: Mapping[tuple[str, str], str]) -> pa.RecordBatch:
    """Records with their corrected instructions, where there are any."""
    import pyarrow as pa

    if not corrections:
        return records
    ids, before, generators = (records[name].to_pylist() for name in ("id", "instruction", "generator"))
    found = [corrections.get(key) for key in zip(ids, before, strict=True)]
    columns = {
        "instruction": [old if new is None else new for old, new in zip(before, found, strict=True)],
        "generator": [name if new is None else name + REVIEWED for name, new in zip(generators, found, strict=True)],
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[name], pa.string()) if name in columns else records[name] for name in records.schema.names],
        schema=records.schema,
    )


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read {path} ({error}): expected a file that `review collect` wrote") from error
