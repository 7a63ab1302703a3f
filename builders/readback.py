"""A built folder, loaded back as a user would, and compared with what was written."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.exceptions import DatasetsError
from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from x_instruction.builders.manifest import MANIFEST, Manifest, Rows, together
from x_instruction.builders.schema import ALL, Content, arrow_schema, features, row_digest
from x_instruction.errors import ShardError
from x_instruction.storage.atomic import file_digest
from x_instruction.storage.run_folder import BATCH

AGAIN = "build the data set again"


def verify(folder: Path) -> Manifest:
    """Check a built folder: its files, then every config through ``datasets``, streamed and not.

    Needs no network and no token; its cache is a temporary folder beside the data set, as large as its largest config.

    Args:
        folder: a folder that ``build`` made.

    Returns:
        Its manifest, all of which holds.

    Raises:
        ShardError: a file, a schema, a number of rows or a value differs from what was written.
    """
    folder = folder.resolve()
    manifest = Manifest.read(folder)
    _check_files(folder, manifest)
    for name in manifest.configs:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as cache, _quiet():
            for streaming in (True, False):
                _check_config(folder, name, manifest, streaming, cache)
    return manifest


def _check_files(folder: Path, manifest: Manifest) -> None:
    for path, wanted in manifest.files.items():
        file = folder / path
        if not file.is_file():
            raise ShardError(f"{file} is missing: {AGAIN}")
        if (came := file_digest(file)) != wanted:
            raise ShardError(f"{file} has digest {came[:12]}, wanted {wanted[:12]}: {AGAIN}")
        if file.suffix == ".parquet" and not pq.read_schema(file).equals(arrow_schema()):
            raise ShardError(f"{file} has other columns than this version publishes: {AGAIN}")
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    if extra := sorted(held - manifest.files.keys()):
        raise ShardError(f"{folder} holds {extra[0]}, which {MANIFEST} does not name: {AGAIN}")


def _check_config(folder: Path, name: str, manifest: Manifest, streaming: bool, cache: str) -> None:
    splits = manifest.configs[name]
    where = f"config {name!r} of {folder}, {'streamed' if streaming else 'loaded'}"
    try:
        loaded: Any = datasets.load_dataset(str(folder), name, streaming=streaming, cache_dir=cache)
        if sorted(loaded) != sorted(splits):
            raise ShardError(f"{where}: has splits {sorted(loaded)}, wanted {sorted(splits)}: {AGAIN}")
        for split, wanted in splits.items():
            if loaded[split].features != features():
                raise ShardError(f"{where}: split {split} has features {loaded[split].features}: {AGAIN}")
            batches = loaded[split].with_format("arrow").iter(BATCH) if streaming else _cached(loaded[split])
            parts = _read(batches, [part.rows for part in manifest.members(name, split)])
            came = together(parts) if name == ALL else parts[0]
            if came != wanted:
                raise ShardError(f"{where}: split {split} reads back as {came}, wanted {wanted}: {AGAIN}")
    except (DatasetsError, pa.ArrowInvalid, ValueError, KeyError) as error:
        raise ShardError(f"{where}: does not load: {error}: {AGAIN}") from error


def _cached(rows: Any) -> Iterator[Any]:
    """What loading prepared, read as a stream: mapped, as ``datasets`` does it, a whole set would become resident."""
    for part in rows.cache_files:
        with pa.OSFile(part["filename"]) as file, pa.ipc.open_stream(file) as stream:
            yield from stream


def _read(batches: Iterable[Any], counts: list[int]) -> list[Rows]:
    """What is read, cut where one language ends and the next begins; all that is beyond goes to the last."""
    parts = [Content()]
    for batch in batches:
        for row in batch.to_pylist():
            if len(parts) < len(counts) and parts[-1].rows == counts[len(parts) - 1]:
                parts.append(Content())
            parts[-1].add(row_digest(row))
    return [Rows(part.rows, part.digest) for part in parts]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars meanwhile: whoever builds has a progress line of its own."""
    shown = not are_progress_bars_disabled()
    if shown:
        disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
