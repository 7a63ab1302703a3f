"""The rows of a config of a data set, page by page: from the footers and the row groups of its Parquet files."""

from __future__ import annotations

import fnmatch
import io
import json
import re
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from x_instruction.languages import direction
from x_instruction.local_hub.objects import Entry
from x_instruction.local_hub.repository import Files, Repository
from x_instruction.storage.atomic import open_plain

ROWS = 20
CELL_CHARS = 1_000
MAX_COLUMNS = 60
MAX_FILES = 2_000
MAX_ROW_GROUP = 256 << 20
# Columns that hold text of a language, even where it is written in ASCII. They come first, in this order.
TEXTS = ("instruction", "prompt", "input", "output", "response", "completion", "text")
_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True)
class Cell:
    """One value, short enough to be shown.

    Args:
        text: the value.
        lang: BCP-47 tag of its language, or empty.
        dir: direction of its language, or ``auto``.
    """

    text: str
    lang: str = ""
    dir: str = "auto"


@dataclass(slots=True)
class Config:
    """One config, as the metadata of the card names it.

    Args:
        name: its name.
        files: paths of its files by split.
    """

    name: str
    files: dict[str, list[str]]


@dataclass(slots=True)
class Page:
    """Some rows of a split.

    Args:
        columns: name and type of each column, those with texts first.
        rows: the rows.
        first: number of the first of them, from 0.
        total: rows of the split.
        note: why there are no rows.
    """

    columns: list[tuple[str, str]] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)
    first: int = 0
    total: int = 0
    note: str = ""


def configs(card: dict[str, Any], files: Files) -> list[Config]:
    """The configs that the metadata names; without any, one of every Parquet file."""
    found: list[Config] = []
    named = card.get("configs")
    for one in named if isinstance(named, list) else []:
        if isinstance(one, dict) and isinstance(one.get("config_name"), str):
            config = Config(one["config_name"], _splits(one.get("data_files"), sorted(files)))
            # The default comes first: it is the one that is open.
            found.insert(0 if one.get("default") is True else len(found), config)
    parquet = sorted(path for path in files if path.endswith(".parquet"))
    if not found and parquet:
        found.append(Config("default", {"train": parquet}))
    return found


def _splits(data_files: Any, paths: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in data_files if isinstance(data_files, list) else [data_files]:
        split, globs = ("train", part) if isinstance(part, str) else (None, None)
        if isinstance(part, dict):
            split, globs = str(part.get("split", "train")), part.get("path")
        for glob in globs if isinstance(globs, list) else [globs]:
            if isinstance(glob, str) and split:
                found.setdefault(split, []).extend(path for path in paths if fnmatch.fnmatchcase(path, glob))
    return found


def page(repository: Repository, files: Files, config: Config, split: str, number: int) -> Page:
    """Rows of a split.

    Args:
        repository: where the files are.
        files: every file of the revision.
        config: the config.
        split: one of its splits.
        number: number of the page, from 0.
    """
    paths = [path for path in config.files.get(split, []) if path.endswith(".parquet")][:MAX_FILES]
    found = Page(first=number * ROWS)
    if not paths:
        found.note = "No Parquet file."
    for path in paths:
        try:
            with _open(repository, files[path]) as stream, pq.ParquetFile(stream) as parquet:
                _read(parquet, found, config.name)
        except (OSError, pa.ArrowException) as error:
            found.note = f"{path} cannot be read: {error}"[:CELL_CHARS]
            break
    if not found.rows and not found.note:
        found.note = "No rows." if not found.total else "There are no more rows."
    return found


def _open(repository: Repository, entry: Entry) -> IO[bytes]:
    pointer = repository.objects.size(entry.oid).pointer
    return open_plain(repository.large.path(pointer.oid)) if pointer else io.BytesIO(repository.objects.blob(entry.oid))


def _read(parquet: Any, found: Page, config: str) -> None:
    """Add the rows of a file that are on the page, and the number of all its rows."""
    if not found.columns:
        columns = [(str(column.name), str(column.type)) for column in parquet.schema_arrow][:MAX_COLUMNS]
        order = {name: place for place, name in enumerate(TEXTS)}
        found.columns = sorted(columns, key=lambda column: order.get(column[0], len(order)))
    names = [name for name, _ in found.columns]
    for group in range(parquet.num_row_groups):
        metadata = parquet.metadata.row_group(group)
        begin = found.first + len(found.rows) - found.total
        missing = min(ROWS - len(found.rows), metadata.num_rows - begin)
        if begin >= 0 and missing > 0:
            if metadata.total_byte_size > MAX_ROW_GROUP:
                found.note = "A row group is too large to be shown."
                return
            table = parquet.read_row_group(group, columns=names).slice(begin, missing)
            found.rows += [[_cell(row, name, config) for name in names] for row in table.to_pylist()]
        found.total += metadata.num_rows


def _cell(row: dict[str, Any], name: str, config: str) -> Cell:
    value = row.get(name)
    if not isinstance(value, str):
        return Cell(_short(json.dumps(value, ensure_ascii=False, default=str)))
    column = "instruction_language" if name.startswith("instruction") else "language"
    own = row.get(column, config)
    # Ids, codes and addresses beside a text are in no language.
    known = isinstance(own, str) and _TAG.fullmatch(own) and (name in TEXTS or not value.isascii())
    if not known:
        return Cell(_short(value))
    # Instructions are often in English, not in the language of the configuration.
    sure = column == "language" or column in row
    return Cell(_short(value), str(own), direction(str(own)) if sure else "auto")


def _short(text: str) -> str:
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}…"
