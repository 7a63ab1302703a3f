"""The parts of an experiment: each is made once, kept in a file of its own, and may fail without the others.

FOLDER/parts/EXPERIMENT/NAME.json      the result of a part
FOLDER/parts/EXPERIMENT/NAME.failed    why it failed, until it is made
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction import hashing
from x_instruction.errors import RecipeError, XInstructionError
from x_instruction.storage.atomic import atomic

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of work with a result that is plain data.

    Args:
        name: ``EXPERIMENT/NAME``.
        settings: what decides the result, as plain data. A result that was made with other settings is refused.
        make: does the work.
    """

    name: str
    settings: Any
    make: Callable[[], Result]


def path(folder: Path, name: str) -> Path:
    """The file of a part's result."""
    return folder / "parts" / f"{name}.json"


def read(folder: Path, part: Part) -> Result | None:
    """The result of a part, or None if it was not made.

    Raises:
        RecipeError: it was made with other settings.
    """
    file = path(folder, part.name)
    if not file.exists():
        return None
    table: Result = json.loads(file.read_text("utf-8"))
    if table["settings"] != hashing.digest(part.settings):
        raise RecipeError(f"{file} was made with another design, pool or model: name another --out, or remove it")
    result: Result = table["result"]
    return result


def make(
    folder: Path, parts: Iterable[Part], deadline: float, log: Callable[[str], None], left: dict[str, str]
) -> None:
    """Make the parts that are missing, in order. One that fails leaves the others.

    Args:
        folder: of the results.
        parts: the parts. They are taken one by one, so a part may follow from the results of earlier ones.
        deadline: ``time.monotonic()`` after which no further part is begun.
        log: called with one line per event.
        left: gets the parts that failed or were not begun, and why.
    """
    for part in parts:
        try:
            if read(folder, part) is not None:
                continue
            if time.monotonic() > deadline:
                left[part.name] = "no time was left"
                continue
            started = time.monotonic()
            result = part.make()
        except Exception as error:
            left[part.name] = keep_failure(folder, part.name, error)
            log(f"{part.name}: failed: {left[part.name]}")
            continue
        seconds = time.monotonic() - started
        table = {"settings": hashing.digest(part.settings), "seconds": round(seconds, 1), "result": result}
        file = path(folder, part.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as stream:
            stream.write(json.dumps(table, ensure_ascii=False, indent=1).encode())
        file.with_suffix(".failed").unlink(missing_ok=True)
        log(f"{part.name}: {seconds:.0f} s")


def keep_failure(folder: Path, name: str, error: Exception) -> str:
    """Keep why a part or an experiment failed, beside its results, and the traceback of a defect.

    What the others find is worth hours, so no error ends them.

    Returns:
        The reason, in one line.
    """
    file = path(folder, name).with_suffix(".failed")
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(error, XInstructionError):
        file.write_text(f"{error}\n", "utf-8")
        return str(error)
    file.write_text("".join(traceback.format_exception(error)), "utf-8")
    return f"{type(error).__name__}: {error} (traceback: {file})"
