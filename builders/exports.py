"""Exports: the rows of a source as files that other tools read, one file per language.

    <out>/sw.json              --format original: the layout of the original release, a JSON list
    <out>/sw.jsonl             the other formats: a line per row
    <out>/sw.test.jsonl        a split other than train says so in its name
    <out>/dataset_info.json    what LLaMA-Factory wants to know of the files
    <out>/axolotl.yaml         the ``datasets`` of an axolotl configuration

``jsonl`` holds every column; the others hold what their readers ask for, and so neither source nor licence of a row.
Texts stand as they are, in UTF-8; only what JSON cannot hold is escaped. Equal rows give equal bytes, and a file
that exists under its name is whole. Rows are written as they are read: no file is held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.builders import original, reading
from x_instruction.builders.formats import FORMATS, Format, describe
from x_instruction.builders.schema import ALL
from x_instruction.builders.sources import Source
from x_instruction.builders.splits import Shares
from x_instruction.builders.views import Row
from x_instruction.config import recipe
from x_instruction.errors import RecipeError, ShardError
from x_instruction.languages import language
from x_instruction.storage.atomic import atomic


@dataclass(frozen=True, slots=True)
class Exported:
    """What ``export`` wrote.

    Args:
        files: every file, those with rows first, to its number of rows; 0 for those that describe others.
        left_out: tag to the reason why a language has no file.
    """

    files: dict[Path, int]
    left_out: dict[str, str]


def export(
    source: str | Path,
    out: Path,
    form: str,
    *,
    languages: Sequence[str] = (),
    split: str = "train",
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write the rows of a source for other tools.

    Args:
        source: a run, a built folder, files of the original layout, or the id of a data set on the Hub. A run is split
            as its recipe says, so that no row of a test set slips into training.
        out: folder of the files.
        form: name of one of ``FORMATS``.
        languages: tags, codes or names; every language that has rows in the split when not given.
        split: one of the source's.
        overwrite: write into a folder that holds something, and replace files of the same names.
        progress: is told a line per language.

    Raises:
        RecipeError: no such format, source, language or split, the folder holds something, or there are no rows.
        ShardError: a file of the source is damaged, or one cannot be written; files that were whole stay.
    """
    if form not in FORMATS:
        raise RecipeError(f"unknown format {form!r} (there are {', '.join(FORMATS)})")
    wanted = FORMATS[form]
    _check_out(out, overwrite)
    options = _shares(source)
    written: dict[str, Path] = {}
    rows: dict[Path, int] = {}
    left_out: dict[str, str] = {}
    for tag in _tags(source, languages):
        path = out / f"{tag if split == 'train' else f'{tag}.{split}'}.{wanted.suffix}"
        held = reading.load(tag, source, streaming=True, **options)
        lines = _lines(_rows(held[split]), wanted, tag) if split in held else iter(())
        if number := _write(path, lines, listed=wanted.suffix == "json"):
            written[tag], rows[path] = path, number
            progress(f"{tag}: {number} rows, {path}")
            continue
        left_out[tag] = "it has no row" if split in held else f"it has no split {split!r}, only {', '.join(held)}"
        if languages:
            raise RecipeError(f"{source} cannot be exported in {tag!r}: {left_out[tag]}")
        progress(f"{tag}: left out, {left_out[tag]}")
    if not written:
        reasons = "; ".join(f"{tag}: {reason}" for tag, reason in left_out.items())
        raise RecipeError(f"nothing to export from {source} ({reasons or 'it holds no language'})")
    notes = describe(out, wanted, {tag: path.name for tag, path in written.items()}, split)
    return Exported(rows | dict.fromkeys(notes, 0), left_out)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out} is a file, wanted a folder")
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if held and not overwrite:
        raise RecipeError(
            f"{out} holds {held[0]!r} and {len(held) - 1} more: choose an empty folder, or replace files of the same "
            "names with --overwrite"
        )


def _shares(source: str | Path) -> dict[str, Any]:
    """How a run is split; every other source is split already."""
    if reading.on_hub(source):
        return {}
    place = original.place(source)
    settings = place.folder / "recipe.json"
    if not isinstance(place, Source) or place.built or not settings.is_file():
        return {}
    try:
        shares = Shares.of(recipe.loads(settings.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{settings} is damaged ({error}): run the recipe again") from error
    return {"validation": shares.validation, "test": shares.test, "seed": shares.seed}


def _tags(source: str | Path, asked: Sequence[str]) -> list[str]:
    """The languages to write, each once."""
    if ALL in asked:
        raise RecipeError(f"{ALL!r} is no language, and every language has a file of its own: leave --language out")
    if not asked:
        return reading.languages(source)
    return list(dict.fromkeys(language(name).tag for name in asked))


def _rows(stream: Any) -> Iterator[Row]:
    # By Arrow tables five times as fast as row by row; as small as this, because a row may have a megabyte.
    for table in stream.with_format("arrow").iter(100):
        yield from table.to_pylist()


def _lines(rows: Iterable[Row], form: Format, tag: str) -> Iterator[bytes]:
    """Every row as JSON on one line."""
    for number, row in enumerate(rows):
        try:
            yield json.dumps(form.row(row), ensure_ascii=False, allow_nan=False).encode()
        except KeyError as error:
            raise RecipeError(
                f"the rows of {tag!r} have no column {error}, they have {', '.join(row)}: wanted a data set that "
                "`build` wrote"
            ) from error
        except ValueError as error:
            raise ShardError(
                f"row {number} of {tag!r} holds what JSON cannot ({error}): mend it at its source"
            ) from error


def _write(path: Path, lines: Iterator[bytes], *, listed: bool) -> int:
    """Write a file, unless there is no row for it; gives the number of rows."""
    first = next(lines, None)
    if first is None:
        return 0
    number = 1
    before, between, after = (b"[\n", b",\n", b"\n]\n") if listed else (b"", b"\n", b"\n")
    with atomic(path) as stream:
        stream.write(before + first)
        for line in lines:
            stream.write(between + line)
            number += 1
        stream.write(after)
    return number
