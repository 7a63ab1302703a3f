"""A built folder, loaded as a user would and compared with its manifest."""

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

REBUILD = "build the data set again"


def verify(folder: Path) -> Manifest:
    """Check a built folder: its files, then every config through ``datasets``, with and without streaming.

    It needs no network and no token. Its cache is a temporary folder beside the data set, as large as the largest
    config.

    Args:
        folder: A folder that ``build`` wrote.

    Returns:
        Its manifest.

    Raises:
        ShardError: A file, a schema, a number of rows or a value differs from the manifest.
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
    for path, sha256 in manifest.files.items():
        file = folder / path
        if not file.is_file():
            raise ShardError(f"{file} is missing: {REBUILD}")
        if (digest := file_digest(file)) != sha256:
            raise ShardError(f"{file} has digest {digest[:12]}, expected {sha256[:12]}: {REBUILD}")
        if file.suffix == ".parquet" and not pq.read_schema(file).equals(arrow_schema()):
            raise ShardError(f"{file} does not have the columns that this version publishes: {REBUILD}")
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    if extra := sorted(present - manifest.files.keys()):
        raise ShardError(f"{folder} has {extra[0]}, which is not in {MANIFEST}: {REBUILD}")


def _check_config(folder: Path, name: str, manifest: Manifest, streaming: bool, cache: str) -> None:
    splits = manifest.configs[name]
    config = f"config {name!r} of {folder}, {'streamed' if streaming else 'loaded'}"
    try:
        loaded: Any = datasets.load_dataset(str(folder), name, streaming=streaming, cache_dir=cache)
        if sorted(loaded) != sorted(splits):
            raise ShardError(f"{config}: has the splits {sorted(loaded)}, expected {sorted(splits)}: {REBUILD}")
        for split, expected in splits.items():
            if loaded[split].features != features():
                raise ShardError(f"{config}: split {split} has the features {loaded[split].features}: {REBUILD}")
            batches = loaded[split].with_format("arrow").iter(BATCH) if streaming else _cached(loaded[split])
            parts = _read(batches, [part.rows for part in manifest.members(name, split)])
            rows = together(parts) if name == ALL else parts[0]
            if rows != expected:
                raise ShardError(f"{config}: split {split} reads back as {rows}, expected {expected}: {REBUILD}")
    except (DatasetsError, pa.ArrowInvalid, ValueError, KeyError) as error:
        raise ShardError(f"{config}: does not load: {error}: {REBUILD}") from error


def _cached(rows: Any) -> Iterator[Any]:
    """Batches from the cache files, read as a stream. ``datasets`` maps the files, so a whole set would fill memory."""
    for part in rows.cache_files:
        with pa.OSFile(part["filename"]) as file, pa.ipc.open_stream(file) as stream:
            yield from stream


def _read(batches: Iterable[Any], counts: list[int]) -> list[Rows]:
    """Rows by language, in the order of the config. Any rows beyond the counts go to the last one."""
    parts = [Content()]
    for batch in batches:
        for row in batch.to_pylist():
            if len(parts) < len(counts) and parts[-1].rows == counts[len(parts) - 1]:
                parts.append(Content())
            parts[-1].add(row_digest(row))
    return [Rows(part.rows, part.digest) for part in parts]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of ``datasets``, as ``build`` reports its own progress."""
    enabled = not are_progress_bars_disabled()
    if enabled:
        disable_progress_bars()
    try:
        yield
    finally:
        if enabled:
            enable_progress_bars()
