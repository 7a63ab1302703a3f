"""The ``datasets`` builder for a run, a built folder, or files in the original format.

``datasets`` takes the name of the data set from the name of the module. Never put it into the folder of a data set:
since datasets 4 a script there makes loading fail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.builder import Key

from x_instruction.builders.files import ROW_GROUP_CHARS
from x_instruction.builders.original import Original, find_source, rows
from x_instruction.builders.schema import VERSION, arrow_schema, features, published
from x_instruction.builders.sources import Source
from x_instruction.builders.splits import Shares, parts, split_of
from x_instruction.errors import RecipeError, ShardError
from x_instruction.languages import PAPER_LANGUAGES
from x_instruction.storage.run_folder import BATCH, RunFolder
from x_instruction.storage.shard_key import ShardKey


@dataclass(kw_only=True, eq=False)
class XInstructionConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """One language of one source.

    Args:
        source: Folder of a run, of a built data set, or of files such as ``sw.json``.
        language: Tag of the language. ``all`` is every language.
        validation, test: For a run, shares of documents in these splits. A built data set has its own splits, and
            files in the original format have no document ids and are all ``train``.
        seed: For a run, random seed of the splits.
    """

    source: str | None = None
    language: str | None = None
    validation: float = 0.0
    test: float = 0.0
    seed: int = 0

    @property
    def shares(self) -> Shares:
        """The shares of the splits."""
        return Shares(self.validation, self.test, self.seed)


class XInstruction(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Loads one language of a run, of a built folder, or of files in the original format.

    The cache is keyed by the content of the files, so rows of a changed run never come from an old copy.

    Args:
        cache_dir: Folder for prepared rows. The default of ``datasets`` if not set.
        config_name: The language: a tag, a code such as ``swh_Latn``, a name, or ``all``.
        source: Folder of a run, of a built data set, or of files such as ``sw.json``.
        language: The same as ``config_name``.
        hash: Added to the digest of the content.
        options: Further fields of ``XInstructionConfig`` and arguments of ``datasets.ArrowBasedBuilder``.

    Raises:
        RecipeError: No source, no language, or a language that the source does not have. The message lists its
            languages.
    """

    VERSION = datasets.Version(VERSION)
    BUILDER_CONFIG_CLASS = XInstructionConfig
    BUILDER_CONFIGS = [  # noqa: RUF012 - the base class declares it
        XInstructionConfig(name=tag, language=tag, version=datasets.Version(VERSION)) for tag in PAPER_LANGUAGES
    ]

    def __init__(
        self,
        cache_dir: str | None = None,
        *,
        config_name: str | None = None,
        source: str | Path | None = None,
        language: str | None = None,
        hash: str | None = None,
        **options: Any,
    ) -> None:
        if source is None:
            raise RecipeError("XInstruction needs a source: pass the folder of a run or of a built data set")
        origin = find_source(source)
        if isinstance(origin, Original) and (options.get("validation") or options.get("test")):
            raise RecipeError(f"{origin.folder} has no document ids to split by: leave out validation and test")
        tag = _only(origin, config_name, language)
        content = hashlib.sha256(f"{origin.digest(tag)} {hash or ''}".encode()).hexdigest()[:32]
        # As a ``config_name``, the base class would accept the languages of BUILDER_CONFIGS only. As a field of the
        # configuration, it accepts any language.
        super().__init__(
            cache_dir,
            hash=content,
            name=tag,
            language=tag,
            source=str(origin.folder),
            **{"version": VERSION, **options},
        )

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=features())

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        source = find_source(self.config.source)
        # datasets divides the lists among processes and streams.
        if isinstance(source, Original):
            work: dict[str, dict[str, Any]] = {"train": {"originals": source.parts(self.config.language)}}
        elif source.built:
            files = source.files(self.config.language)
            work = {split: {"files": list(map(str, files[split]))} for split in files}
        else:
            shards = source.shards(self.config.language)
            work = {split: {"shards": shards, "split": split} for split in self._splits(source, shards)}
        return [datasets.SplitGenerator(name=split, gen_kwargs=kwargs) for split, kwargs in work.items()]

    def _splits(self, source: Source, shards: list[ShardKey]) -> list[str]:
        """The splits with rows, as datasets cannot represent an empty one."""
        shares = self.config.shares
        if shares.splits == ("train",):
            return ["train"]
        present = {split_of(document, shares) for document in source.documents(shards)}
        return [split for split in shares.splits if split in present]

    def _generate_tables(
        self,
        files: list[str] | None = None,
        shards: list[ShardKey] | None = None,
        originals: list[tuple[str, str]] | None = None,
        split: str = "train",
    ) -> Iterator[tuple[Key, pa.Table]]:
        for number, file in enumerate(files or ()):
            for batch, table in enumerate(_built(file)):
                yield Key(number, batch), table
        for number, key in enumerate(shards or ()):
            for batch, table in enumerate(self._curated(key, split)):
                yield Key(number, batch), table
        for number, (tag, path) in enumerate(originals or ()):
            for batch, table in enumerate(_original(path, tag)):
                yield Key(number, batch), table

    def _curated(self, key: ShardKey, split: str) -> Iterator[pa.Table]:
        for batch in RunFolder(Path(self.config.source)).batches(key):
            rows = parts(published(batch), self.config.shares)
            if split in rows:
                yield rows[split]


def _built(file: str) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(file) as parquet:
            if not parquet.schema_arrow.equals(arrow_schema()):
                raise ShardError(f"{file} does not have the columns that this version reads: build the data set again")
            for batch in parquet.iter_batches(batch_size=BATCH):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"cannot read {file}: {error}; build the data set again") from error


def _original(path: str, tag: str) -> Iterator[pa.Table]:
    pending: list[dict[str, Any]] = []
    chars = 0
    for row in rows(path, tag):
        pending.append(row)
        chars += len(row["output"])
        if len(pending) >= BATCH or chars >= ROW_GROUP_CHARS:
            yield pa.Table.from_pylist(pending, schema=arrow_schema())
            pending, chars = [], 0
    if pending:
        yield pa.Table.from_pylist(pending, schema=arrow_schema())


def _only(source: Source | Original, config_name: str | None, language: str | None) -> str:
    """The requested tag, or the only language of a source if none was requested."""
    requested = [source.tag(name) for name in (config_name, language) if name is not None]
    tags = source.languages()
    if not requested and len(tags) == 1:
        return tags[0]
    if not requested:
        raise RecipeError(
            f"no language was given, and {source.folder} has {', '.join(tags) or 'none'}: pass one of them, or 'all'"
        )
    if len(set(requested)) > 1:
        raise RecipeError(f"config_name {config_name!r} and language {language!r} are different languages: pass one")
    return requested[0]
