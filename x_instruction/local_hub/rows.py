"""The first rows of each config of a data set: from the footer and the first row group of its first Parquet file."""

from __future__ import annotations

import fnmatch
import io
import json
import re
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from x_instruction.local_hub.objects import Entry
from x_instruction.local_hub.repository import Files, Repository
from x_instruction.storage.atomic import open_plain

ROWS = 5
CELL_CHARS = 300
MAX_COLUMNS = 60
MAX_CONFIGS = 40
MAX_ROW_GROUP = 256 << 20
# Columns that hold text of a language, even where it is written in ASCII.
_TEXTS = frozenset({"instruction", "input", "output", "text", "prompt", "completion", "response"})
_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True)
class Cell:
    """One value, short enough to be shown.

    Args:
        text: the value.
        lang: BCP-47 tag of its language, or empty.
    """

    text: str
    lang: str = ""


@dataclass(slots=True)
class Config:
    """One config, as the metadata of the card names it.

    Args:
        name: its name.
        files: paths of its files by split.
        columns: name and type of each column.
        rows: its first rows.
        total: rows of the first file.
        note: why there are no rows.
    """

    name: str
    files: dict[str, list[str]]
    columns: list[tuple[str, str]] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)
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
    return found[:MAX_CONFIGS]


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


def fill(repository: Repository, files: Files, config: Config) -> None:
    """Read the first rows of a config."""
    first = next((path for paths in config.files.values() for path in paths if path.endswith(".parquet")), None)
    if first is None:
        config.note = "No Parquet file."
        return
    try:
        with _open(repository, files[first]) as stream, pq.ParquetFile(stream) as parquet:
            _read(parquet, config)
    except (OSError, pa.ArrowException) as error:
        config.note = f"{first} cannot be read: {error}"[:CELL_CHARS]


def _open(repository: Repository, entry: Entry) -> IO[bytes]:
    pointer = repository.objects.size(entry.oid).pointer
    return open_plain(repository.large.path(pointer.oid)) if pointer else io.BytesIO(repository.objects.blob(entry.oid))


def _read(parquet: Any, config: Config) -> None:
    schema = parquet.schema_arrow
    config.columns = [(str(column.name), str(column.type)) for column in schema][:MAX_COLUMNS]
    config.total = parquet.metadata.num_rows
    if not parquet.num_row_groups or not config.total:
        config.note = "No rows."
        return
    if parquet.metadata.row_group(0).total_byte_size > MAX_ROW_GROUP:
        config.note = "The first row group is too large to be shown."
        return
    names = [name for name, _ in config.columns]
    for batch in parquet.iter_batches(batch_size=ROWS, row_groups=[0], columns=names):
        config.rows = [[_cell(row, name, config.name) for name in names] for row in batch.to_pylist()]
        return


def _cell(row: dict[str, Any], name: str, config: str) -> Cell:
    value = row.get(name)
    if not isinstance(value, str):
        return Cell(_short(json.dumps(value, ensure_ascii=False, default=str)))
    own = row.get("instruction_language" if name.startswith("instruction") else "language", config)
    # Ids, codes and addresses beside a text are in no language.
    known = isinstance(own, str) and _TAG.fullmatch(own) and (name in _TEXTS or not value.isascii())
    return Cell(_short(value), str(own) if known else "")


def _short(text: str) -> str:
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}…"
