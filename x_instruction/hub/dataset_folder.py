"""A folder that ``build`` wrote, checked against its manifest before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from huggingface_hub import DatasetCard

from x_instruction.builders.layout import README
from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.schema import ALL, DATA, VERSION, arrow_schema
from x_instruction.builders.splits import SPLITS
from x_instruction.cards.facts import LanguageSet
from x_instruction.errors import ShardError
from x_instruction.storage.atomic import file_digest

REBUILD = "build the data set again"
# Left behind by uploads and file managers, and never meant to be published.
_IGNORED = (".cache/", ".DS_Store")


@dataclass(frozen=True, slots=True)
class Folder:
    """A built folder that holds what its manifest says.

    Args:
        path: The folder.
        manifest: Its manifest.
    """

    path: Path
    manifest: Manifest

    @property
    def sets(self) -> dict[str, LanguageSet]:
        """Tag to language, the default first."""
        return self.manifest.languages


def check_folder(path: Path) -> Folder:
    """Check that a folder can be published.

    Raises:
        ShardError: It was not built, or its content is not what was built.
    """
    if not (path / MANIFEST).is_file():
        raise ShardError(f"{path} has no {MANIFEST}: expected a folder that `x-instruction build` wrote")
    manifest = Manifest.read(path)
    if manifest.version != VERSION:
        raise ShardError(f"{path} has the layout {manifest.version}, expected {VERSION}: {REBUILD}")
    _check_configs(path, manifest)
    _check_card(path, manifest)
    _check_files(path, manifest)
    for tag, language_set in manifest.languages.items():
        for split, part in language_set.splits.items():
            _check_rows(path, tag, split, part.rows, list(part.files))
    return Folder(path, manifest)


def _check_configs(path: Path, manifest: Manifest) -> None:
    """Every config is a language with rows, and the manifest agrees with itself about it."""
    names = manifest.configs.keys() - {ALL}
    if names != manifest.languages.keys() or ALL in manifest.languages or manifest.default not in names:
        raise ShardError(
            f"{path / MANIFEST} has the configs {sorted(names)}, the languages {sorted(manifest.languages)} and the "
            f"default {manifest.default!r}: expected a config for each language, none named {ALL!r}, and a default "
            f"among them: {REBUILD}"
        )
    for tag, language_set in manifest.languages.items():
        splits = manifest.configs[tag]
        if not splits or not all(part.rows and part.files for part in language_set.splits.values()):
            raise ShardError(f"{path}: the config {tag!r} is empty, which no reader can load: {REBUILD} without it")
        stated = {split: (part.rows, part.content) for split, part in language_set.splits.items()}
        if stated != {split: (part.rows, part.content) for split, part in splits.items()}:
            raise ShardError(f"{path / MANIFEST} contradicts itself about the rows of {tag!r}: {REBUILD}")


def _check_card(path: Path, manifest: Manifest) -> None:
    if README not in manifest.files or not (path / README).is_file():
        raise ShardError(f"{path} has no {README}: {REBUILD}")
    try:
        data = DatasetCard.load(path / README).data
    except (ValueError, yaml.YAMLError) as error:
        raise ShardError(f"cannot read the metadata of {path / README} ({error}): {REBUILD}") from error
    if not data.license:
        raise ShardError(
            f"{path / README} states no licence, and data without one cannot be used: set corpus.license in the "
            f"recipe, then {REBUILD}"
        )
    configs = {config.get("config_name") for config in data.get("configs") or []}
    if configs != manifest.configs.keys():
        raise ShardError(
            f"{path / README} has the configs {sorted(map(str, configs))}, expected {sorted(manifest.configs)}: "
            f"{REBUILD}"
        )


def _check_files(path: Path, manifest: Manifest) -> None:
    """The files are those of the manifest, byte by byte, and no others."""
    data = {file: sha for language_set in manifest.languages.values() for file, sha in language_set.files.items()}
    texts = {file: sha for file, sha in manifest.files.items() if not file.startswith(f"{DATA}/")}
    if data | texts != manifest.files:
        raise ShardError(f"{path / MANIFEST} contradicts itself about its files: {REBUILD}")
    present = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()} - {MANIFEST}
    if extra := sorted(file for file in present - manifest.files.keys() if not file.startswith(_IGNORED)):
        raise ShardError(f"{path} has {extra[0]!r}, which is not in its manifest: move it away, or {REBUILD}")
    for file, sha in manifest.files.items():
        if ".." in PurePosixPath(file).parts or file.startswith("/"):
            raise ShardError(f"{path / MANIFEST} names {file!r}, which is outside of the folder: {REBUILD}")
        if file not in present:
            raise ShardError(f"{path / file} is in the manifest and is missing: {REBUILD}")
        if file_digest(path / file) != sha:
            raise ShardError(f"{path / file} was changed after the manifest was written: {REBUILD}")


def _check_rows(path: Path, tag: str, split: str, expected: int, files: list[str]) -> None:
    """The Parquet files of a split have the published columns and the number of rows in the manifest."""
    rows = 0
    for number, file in enumerate(files):
        name = f"{DATA}/{tag}/{split}-{number:05d}-of-{len(files):05d}.parquet"
        if file != name or split not in SPLITS:
            raise ShardError(f"{path / file} is not the name of a file of {tag!r}, expected {name}: {REBUILD}")
        try:
            schema, rows = pq.read_schema(path / file), rows + pq.read_metadata(path / file).num_rows
        except pa.ArrowInvalid as error:
            raise ShardError(f"{path / file} is not a Parquet file ({error}): {REBUILD}") from error
        if not schema.equals(arrow_schema()):
            columns = sorted(set(schema) ^ set(arrow_schema()), key=lambda field: str(field.name))
            raise ShardError(
                f"{path / file} differs from the published columns in {', '.join(map(str, columns[:4]))}: {REBUILD}"
            )
    if rows != expected:
        raise ShardError(
            f"{path}: {tag!r} has {rows} rows in split {split}, and the manifest says {expected}: {REBUILD}"
        )
