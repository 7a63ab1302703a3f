"""Exports: the rows of a source in files of other tools, one file per language.

    <out>/sw.json              format original: a JSON list
    <out>/sw.jsonl             other formats: one row per line
    <out>/sw.test.jsonl        a split other than train
    <out>/dataset_info.json    describes the files to LLaMA-Factory
    <out>/axolotl.yaml         the ``datasets`` of an axolotl configuration

``jsonl`` has every column. The other formats have what their readers take, without source and licence of a row. Texts
are UTF-8, and only what JSON cannot hold is escaped. Equal rows give equal bytes, and a file that exists is complete.
Rows are streamed, so memory does not hold a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.builders import original, preferences, reading
from x_instruction.builders.formats import FORMATS, Format, describe
from x_instruction.builders.preferences import PREFERENCES
from x_instruction.builders.schema import ALL
from x_instruction.builders.sources import Source
from x_instruction.builders.splits import Shares
from x_instruction.builders.views import Row
from x_instruction.config import recipe
from x_instruction.config.recipe import Recipe
from x_instruction.errors import RecipeError, ShardError
from x_instruction.languages import language
from x_instruction.storage.atomic import atomic
from x_instruction.storage.run_folder import RunFolder

# Gives the rows of a language, and the reason if there are none.
RowsOf = Callable[[str], tuple[Iterator[Row], str]]


@dataclass(frozen=True, slots=True)
class Exported:
    """What ``export`` wrote.

    Args:
        files: File to number of rows, those with rows first. 0 for files that describe others.
        skipped: Tag to the reason why a language has no file.
    """

    files: dict[Path, int]
    skipped: dict[str, str]


def export(
    source: str | Path,
    out: Path,
    form: str,
    *,
    languages: Sequence[str] = (),
    split: str = "train",
    overwrite: bool = False,
    prefer: str | None = None,
    margin: float | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write the rows of a source for other tools.

    Args:
        source: A run, a built folder, files in the original format, or the id of a data set on the Hub. A run is split
            as its recipe says, so that no test row becomes a training row.
        out: Folder of the files.
        form: Name of one of ``FORMATS``, or of ``PREFERENCES`` for preference pairs.
        languages: Tags, codes or names. Every language with rows in the split by default.
        split: One of the source's splits.
        overwrite: Write into a folder that is not empty, and replace files of the same names.
        prefer: For preference pairs: ``responses`` (the default) or ``instructions``, see ``builders.preferences``.
        margin: For preferences between instructions: smallest difference of the scores of the rater. Default: any.
        progress: Receives a line per language.

    Raises:
        RecipeError: Unknown format, source, language or split, the folder is not empty, or there are no rows.
        ShardError: A file of the source is damaged, or a file cannot be written. Complete files stay.
    """
    known = FORMATS | PREFERENCES
    if form not in known:
        raise RecipeError(f"unknown format {form!r} (known: {', '.join(known)})")
    target = known[form]
    _check_preferences(form, prefer, margin)
    _check_out(out, overwrite)
    rows_of = _row_source(source, split, form, prefer or "responses", margin or 0.0)
    written: dict[str, Path] = {}
    rows: dict[Path, int] = {}
    skipped: dict[str, str] = {}
    for tag in _tags(source, languages):
        path = out / f"{tag if split == 'train' else f'{tag}.{split}'}.{target.suffix}"
        found, reason = rows_of(tag)
        if number := _write(path, _lines(found, target, tag), as_list=target.suffix == "json"):
            written[tag], rows[path] = path, number
            progress(f"{tag}: {number} {'row' if number == 1 else 'rows'}, {path}")
            continue
        skipped[tag] = reason
        if languages:
            raise RecipeError(f"{source} cannot be exported in {tag!r}: {skipped[tag]}")
        progress(f"{tag}: skipped, {skipped[tag]}")
    if not written:
        reasons = "; ".join(f"{tag}: {reason}" for tag, reason in skipped.items())
        raise RecipeError(f"{source} has nothing to export ({reasons or 'it has no languages'})")
    descriptions = describe(out, target, {tag: path.name for tag, path in written.items()}, split)
    return Exported(rows | dict.fromkeys(descriptions, 0), skipped)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise RecipeError(f"--out {out} is a file, expected a folder")
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if names and not overwrite:
        raise RecipeError(
            f"--out {out} is not empty (it has {names[0]!r}): choose an empty folder, or pass --overwrite to replace "
            "files of the same names"
        )


def _check_preferences(form: str, prefer: str | None, margin: float | None) -> None:
    if form not in PREFERENCES and (prefer is not None or margin is not None):
        option = "--prefer" if prefer is not None else "--margin"
        raise RecipeError(f"{option} is for the formats {' and '.join(PREFERENCES)}, and --format is {form}")
    if margin is not None and (prefer != "instructions" or margin < 0):
        raise RecipeError(
            f"--margin is {margin:g}, expected 0 or more, and --prefer instructions: it is a difference of scores, and "
            "responses that were made worse have none"
        )


def _row_source(source: str | Path, split: str, form: str, prefer: str, margin: float) -> RowsOf:
    """What gives the rows of a language in this format."""
    run = _run_of(source)
    options: dict[str, Any] = {}
    if run:
        shares = Shares.of(run[1])
        options = {"validation": shares.validation, "test": shares.test, "seed": shares.seed}

    def published(tag: str) -> tuple[Iterator[Row], str]:
        splits = reading.load(tag, source, streaming=True, **options)
        if split not in splits:
            return iter(()), f"it has no split {split!r}, only {', '.join(splits)}"
        return _rows(splits[split]), "it has no rows"

    def responses(tag: str) -> tuple[Iterator[Row], str]:
        others = [other for other in reading.languages(source) if other != tag]
        foreign = preferences.foreign_texts(published(others[0])[0], others[0]) if others else []
        rows, reason = published(tag)
        return preferences.response_pairs(rows, tag, foreign), reason

    def instructions(tag: str) -> tuple[Iterator[Row], str]:
        folder, settings = run or preferences.needs_run()
        reason = "no passage has a kept instruction and one with a lower score" + (f" by {margin:g}" if margin else "")
        return preferences.instruction_pairs(folder, tag, split, Shares.of(settings), margin), reason

    if form not in PREFERENCES:
        return published
    preferences.check(prefer, run[1] if run else None)
    return instructions if prefer == "instructions" else responses


def _run_of(source: str | Path) -> tuple[RunFolder, Recipe] | None:
    """The run and its recipe, if the source is a run. Every other source is split already, and has kept pairs alone."""
    if reading.is_hub_id(source):
        return None
    local = original.find_source(source)
    settings = local.folder / "recipe.json"
    if not isinstance(local, Source) or local.built or not settings.is_file():
        return None
    run = RunFolder(local.folder)
    return run, recipe.of_run(run.location, run.read_file(settings.name))


def _tags(source: str | Path, requested: Sequence[str]) -> list[str]:
    """The languages to write, each once."""
    if ALL in requested:
        raise RecipeError(f"{ALL!r} is not a language, and every language gets its own file: leave out --languages")
    if not requested:
        return reading.languages(source)
    return list(dict.fromkeys(language(name).tag for name in requested))


def _rows(stream: Any) -> Iterator[Row]:
    # Arrow tables are five times as fast as single rows. They are small, because a row may have a megabyte.
    for table in stream.with_format("arrow").iter(100):
        yield from table.to_pylist()


def _lines(rows: Iterable[Row], form: Format, tag: str) -> Iterator[bytes]:
    """Every row as JSON on one line."""
    for number, row in enumerate(rows):
        try:
            yield json.dumps(form.row(row), ensure_ascii=False, allow_nan=False).encode()
        except KeyError as error:
            raise RecipeError(
                f"the rows in {tag!r} have no column {error}, only {', '.join(row)}: expected a data set that `build` "
                "wrote"
            ) from error
        except ValueError as error:
            raise ShardError(
                f"row {number} in {tag!r} has a value that JSON cannot hold ({error}): fix it at its source"
            ) from error


def _write(path: Path, lines: Iterator[bytes], *, as_list: bool) -> int:
    """Write a file if there are rows for it. Returns the number of rows."""
    first = next(lines, None)
    if first is None:
        return 0
    number = 1
    before, between, after = (b"[\n", b",\n", b"\n]\n") if as_list else (b"", b"\n", b"\n")
    with atomic(path) as stream:
        stream.write(before + first)
        for line in lines:
            stream.write(between + line)
            number += 1
        stream.write(after)
    return number
