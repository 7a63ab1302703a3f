"""The data set builder: a run, a built folder, or files of the original layout, as ``datasets`` loads them.

The module is named after the data set because ``datasets`` takes the data set's name from it. It never stands in a
data set's own folder: since datasets 4 a script there keeps the whole set from loading.
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
from x_instruction.builders.original import Original, rows
from x_instruction.builders.original import place as find
from x_instruction.builders.schema import VERSION, arrow_schema, features, published
from x_instruction.builders.sources import Source
from x_instruction.builders.splits import Shares, split_of
from x_instruction.errors import RecipeError, ShardError
from x_instruction.languages import PAPER_LANGUAGES
from x_instruction.records import Curated
from x_instruction.storage.run_folder import BATCH, RunFolder
from x_instruction.storage.shard_key import ShardKey


@dataclass(kw_only=True, eq=False)
class XInstructionConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """One language of one source.

    Args:
        source: folder of a run, of a built data set, or of files such as ``sw.json``.
        language: tag of the language; ``all`` is every language.
        validation, test: for a run: shares of documents in these splits. A built data set has its own, and files of
            the original layout, which name no documents, are ``train``.
        seed: for a run: draws the documents of the splits.
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
    """Loads one language of a run, of a built folder, or of files of the original layout.

    The cache is keyed by the content of the files, so a run that changed is never answered from an old copy.

    Args:
        cache_dir: where prepared rows are kept; the default of ``datasets`` when not set.
        config_name: the language: a tag, a code such as ``swh_Latn``, a name, or ``all``.
        source: folder of a run, of a built data set, or of files such as ``sw.json``.
        language: the same as ``config_name``, by keyword.
        hash: added to the digest of the content.
        options: further fields of ``XInstructionConfig`` and arguments of ``datasets.ArrowBasedBuilder``.

    Raises:
        RecipeError: no source, no language, or a language that the source does not hold; it lists those held.
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
            raise RecipeError("XInstruction has no source: name the folder of a run or of a built data set")
        place = find(source)
        if isinstance(place, Original) and (options.get("validation") or options.get("test")):
            raise RecipeError(f"{place.folder} names no documents to draw splits by: leave out validation and test")
        tag = _only(place, config_name, language)
        content = hashlib.sha256(f"{place.digest(tag)} {hash or ''}".encode()).hexdigest()[:32]
        # With ``config_name`` the base class knows the languages of BUILDER_CONFIGS alone; named in the configuration,
        # any language that the source holds is one.
        super().__init__(
            cache_dir, hash=content, name=tag, language=tag, source=str(place.folder), **{"version": VERSION, **options}
        )

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=features())

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        place = find(self.config.source)
        # Lists are what datasets divides among processes and streams.
        if isinstance(place, Original):
            work: dict[str, dict[str, Any]] = {"train": {"originals": place.parts(self.config.language)}}
        elif place.built:
            files = place.files(self.config.language)
            work = {split: {"files": list(map(str, files[split]))} for split in files}
        else:
            shards = place.shards(self.config.language)
            work = {split: {"shards": shards, "split": split} for split in self._splits(place, shards)}
        return [datasets.SplitGenerator(name=split, gen_kwargs=kwargs) for split, kwargs in work.items()]

    def _splits(self, place: Source, shards: list[ShardKey]) -> list[str]:
        """The splits that have a row: datasets cannot hold one that has none."""
        shares = self.config.shares
        if shares.splits == ("train",):
            return ["train"]
        found = {split_of(document, shares) for document in place.documents(shards)}
        return [split for split in shares.splits if split in found]

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
        rows: list[dict[str, Any]] = []
        for record in RunFolder(Path(self.config.source)).read(key):
            assert isinstance(record, Curated)
            if split_of(record.document_id, self.config.shares) == split:
                rows.append(published(record))
            if len(rows) >= BATCH:
                yield pa.Table.from_pylist(rows, schema=arrow_schema())
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows, schema=arrow_schema())


def _built(file: str) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(file) as parquet:
            if not parquet.schema_arrow.equals(arrow_schema()):
                raise ShardError(f"{file} has other columns than this version reads: build the data set again")
            for batch in parquet.iter_batches(batch_size=BATCH):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"cannot read {file}: {error}; build the data set again") from error


def _original(path: str, tag: str) -> Iterator[pa.Table]:
    waiting: list[dict[str, Any]] = []
    chars = 0
    for row in rows(path, tag):
        waiting.append(row)
        chars += len(row["output"])
        if len(waiting) >= BATCH or chars >= ROW_GROUP_CHARS:
            yield pa.Table.from_pylist(waiting, schema=arrow_schema())
            waiting, chars = [], 0
    if waiting:
        yield pa.Table.from_pylist(waiting, schema=arrow_schema())


def _only(place: Source | Original, config_name: str | None, language: str | None) -> str:
    """The tag that was asked for; of a source with one language, that one when none was."""
    asked = [place.tag(name) for name in (config_name, language) if name is not None]
    held = place.languages()
    if not asked and len(held) == 1:
        return held[0]
    if not asked:
        raise RecipeError(
            f"no language was named; {place.folder} holds {', '.join(held) or 'none'}: name one, or 'all'"
        )
    if len(set(asked)) > 1:
        raise RecipeError(f"config_name {config_name!r} and language {language!r} are two languages: name one")
    return asked[0]
