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
from x_instruction.errors import ShardError, UnknownLanguage
from x_instruction.languages import language
from x_instruction.storage.atomic import file_digest

AGAIN = "build the data set again"
# What uploads and file managers leave behind; nobody means it to be published.
_LEFT = (".cache/", ".DS_Store")


@dataclass(frozen=True, slots=True)
class Folder:
    """A built folder that holds what its manifest says.

    Args:
        path: where it stands.
        manifest: all of which holds.
        sets: tag to language, the default first.
    """

    path: Path
    manifest: Manifest
    sets: dict[str, LanguageSet]


def check_folder(path: Path) -> Folder:
    """A folder that may be published.

    Raises:
        ShardError: nothing built stands there, or what stands there is not what was built.
    """
    if not (path / MANIFEST).is_file():
        raise ShardError(
            f"{path} holds no {MANIFEST}, so `x-instruction build` did not write it: name a folder it wrote"
        )
    manifest = Manifest.read(path)
    if manifest.version != VERSION:
        raise ShardError(f"{path} has the layout {manifest.version}, wanted {VERSION}: {AGAIN}")
    _check_configs(path, manifest)
    sets = manifest.sets()
    _check_card(path, manifest)
    _check_files(path, manifest)
    for tag, one in sets.items():
        for split, part in one.splits.items():
            _check_rows(path, tag, split, part.rows, list(part.files))
    return Folder(path, manifest, sets)


def _check_configs(path: Path, manifest: Manifest) -> None:
    """Every config is a language with rows, named by its tag, and says the same wherever the manifest says it."""
    names = manifest.configs.keys() - {ALL}
    if names != manifest.languages.keys() or ALL in manifest.languages or manifest.default not in names:
        raise ShardError(
            f"{path / MANIFEST} has the configs {sorted(names)} and the languages {sorted(manifest.languages)}, "
            f"of which {ALL!r} is reserved and {manifest.default!r} is to be the default: {AGAIN}"
        )
    for name in names:
        try:
            tag = language(name).tag
        except UnknownLanguage as error:
            raise ShardError(f"{path}: a config is named by the tag of its language, and {error}: {AGAIN}") from error
        if tag != name:
            raise ShardError(f"{path}: the config {name!r} is named {tag!r} by everybody else: {AGAIN}")
    for tag, one in manifest.sets().items():
        splits = manifest.configs[tag]
        if not splits or not all(part.rows and part.files for part in one.splits.values()):
            raise ShardError(f"{path}: the config {tag!r} is empty, which no reader can load: {AGAIN} without it")
        said = {split: (part.rows, part.content) for split, part in one.splits.items()}
        if said != {split: (part.rows, part.content) for split, part in splits.items()}:
            raise ShardError(f"{path / MANIFEST} says two things of {tag!r}: {AGAIN}")


def _check_card(path: Path, manifest: Manifest) -> None:
    if README not in manifest.files or not (path / README).is_file():
        raise ShardError(f"{path} has no {README}: {AGAIN}")
    try:
        data = DatasetCard.load(path / README).data
    except (ValueError, yaml.YAMLError) as error:
        raise ShardError(f"the metadata of {path / README} cannot be read ({error}): {AGAIN}") from error
    if not data.license:
        raise ShardError(
            f"{path / README} states no licence, and nobody may use what has none: state the corpus's licence in "
            f"corpus.license of the recipe, then {AGAIN}"
        )
    configs = {config.get("config_name") for config in data.get("configs") or []}
    if configs != manifest.configs.keys():
        raise ShardError(
            f"{path / README} has the configs {sorted(map(str, configs))}, wanted {sorted(manifest.configs)}: {AGAIN}"
        )


def _check_files(path: Path, manifest: Manifest) -> None:
    """The files are those of the manifest, byte by byte, and no others."""
    wanted = {file: sha for one in manifest.sets().values() for file, sha in one.files.items()}
    texts = {file: sha for file, sha in manifest.files.items() if not file.startswith(f"{DATA}/")}
    if wanted | texts != manifest.files:
        raise ShardError(f"{path / MANIFEST} says two things of its files: {AGAIN}")
    held = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()} - {MANIFEST}
    if extra := sorted(file for file in held - manifest.files.keys() if not file.startswith(_LEFT)):
        raise ShardError(f"{path} holds {extra[0]!r}, which its manifest does not name: move it away, or {AGAIN}")
    for file, sha in manifest.files.items():
        if ".." in PurePosixPath(file).parts or file.startswith("/"):
            raise ShardError(f"{path / MANIFEST} names {file!r}, which is outside of the folder: {AGAIN}")
        if file not in held:
            raise ShardError(f"{path / file} is missing, and the manifest names it: {AGAIN}")
        if file_digest(path / file) != sha:
            raise ShardError(f"{path / file} was changed since the manifest was written: {AGAIN}")


def _check_rows(path: Path, tag: str, split: str, wanted: int, files: list[str]) -> None:
    """The Parquet files of a split have the published columns and the rows that the manifest says."""
    rows = 0
    for number, file in enumerate(files):
        name = f"{DATA}/{tag}/{split}-{number:05d}-of-{len(files):05d}.parquet"
        if file != name or split not in SPLITS:
            raise ShardError(f"{path / file} is no name of a file of {tag!r}, wanted {name}: {AGAIN}")
        try:
            schema, rows = pq.read_schema(path / file), rows + pq.read_metadata(path / file).num_rows
        except pa.ArrowInvalid as error:
            raise ShardError(f"{path / file} is no Parquet file ({error}): {AGAIN}") from error
        if not schema.equals(arrow_schema()):
            columns = sorted(set(schema) ^ set(arrow_schema()), key=lambda field: str(field.name))
            raise ShardError(
                f"{path / file} has other columns than the data set ({', '.join(map(str, columns[:4]))}): {AGAIN}"
            )
    if rows != wanted:
        raise ShardError(f"{path}: {tag!r} has {rows} rows in split {split}, and the manifest says {wanted}: {AGAIN}")
