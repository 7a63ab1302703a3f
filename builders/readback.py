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
from xxhash import xxh3_128

from x_instruction.builders.manifest import MANIFEST, Manifest, Rows, together
from x_instruction.builders.schema import ALL, Content, RowContent, arrow_schema, content_of, features
from x_instruction.errors import ShardError
from x_instruction.storage.atomic import file_digest
from x_instruction.storage.run_folder import BATCH

REBUILD = "build the data set again"


def verify(folder: Path) -> Manifest:
    """Check a built folder: its files, then every language through ``datasets``, with and without streaming.

    The config with all languages must list the files of the languages in their order; its rows are not read again. It
    needs no network and no token. Its cache is a temporary folder beside the data set, as large as the largest
    language.

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
            _check_config(folder, name, manifest, cache)
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


def _check_config(folder: Path, name: str, manifest: Manifest, cache: str) -> None:
    splits = manifest.configs[name]
    config = f"config {name!r} of {folder}"
    try:
        # As ``load_dataset`` does, with one look at the card for both ways.
        builder: Any = datasets.load_dataset_builder(str(folder), name, cache_dir=cache)
        streamed = builder.as_streaming_dataset()
        if sorted(streamed) != sorted(splits):
            raise ShardError(f"{config}: has the splits {sorted(streamed)}, expected {sorted(splits)}: {REBUILD}")
        for split in splits:
            if streamed[split].features != features():
                raise ShardError(f"{config}: split {split} has the features {streamed[split].features}: {REBUILD}")
        if name == ALL:
            _check_all(folder, manifest, builder)
            return
        builder.download_and_prepare()
        loaded = builder.as_dataset()
        for split, expected in splits.items():
            # What is loaded is compared with what is streamed, by a digest that costs a tenth of the published one.
            published, quick, cached = content_of(expected.content), Content(xxh3_128), Content(xxh3_128)
            _read(_streamed(streamed[split]), published, quick)
            _check_rows(f"{config}, streamed: split {split}", Rows(published.rows, published.digest), expected)
            _read(_cached(loaded[split]), cached)
            _check_rows(
                f"{config}, loaded: split {split}", Rows(cached.rows, cached.digest), Rows(quick.rows, quick.digest)
            )
    except (DatasetsError, pa.ArrowException, ValueError, KeyError) as error:
        raise ShardError(f"{config}: does not load: {error}: {REBUILD}") from error


def _check_all(folder: Path, manifest: Manifest, builder: Any) -> None:
    """The config with all languages has their files, so it has their rows."""
    for split, expected in manifest.configs[ALL].items():
        sets = [
            language_set.splits[split] for language_set in manifest.languages.values() if split in language_set.splits
        ]
        files = [str(folder / path) for part in sets for path in part.files]
        if list(map(str, builder.config.data_files[split])) != files:
            raise ShardError(f"config {ALL!r} of {folder}: split {split} has other files than its languages: {REBUILD}")
        rows = together(manifest.members(ALL, split))
        counted = builder.info.splits[split].num_examples
        if rows != expected or counted != expected.rows:
            raise ShardError(
                f"config {ALL!r} of {folder}: split {split} has {rows}, and {counted} rows in the card, expected "
                f"{expected}: {REBUILD}"
            )


def _streamed(rows: Any) -> Iterator[Any]:
    yield from rows.with_format("arrow").iter(BATCH)


def _cached(rows: Any) -> Iterator[Any]:
    """Batches from the cache files, read as a stream. ``datasets`` maps the files, so a whole set would fill memory."""
    for part in rows.cache_files:
        with pa.OSFile(part["filename"]) as file, pa.ipc.open_stream(file) as stream:
            yield from stream


def _read(batches: Iterable[Any], *contents: Content | RowContent) -> None:
    for batch in batches:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        for content in contents:
            content.add(table)


def _check_rows(what: str, rows: Rows, expected: Rows) -> None:
    if rows != expected:
        raise ShardError(f"{what} reads back as {rows}, expected {expected}: {REBUILD}")


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
