"""Local folders that rows can be loaded from: a run, or the data set that ``build`` made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.schema import ALL, DATA
from x_instruction.builders.splits import SPLITS
from x_instruction.errors import RecipeError, ShardError
from x_instruction.languages import language
from x_instruction.storage.atomic import file_digest
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, ShardKey


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that rows can be loaded from.

    Args:
        folder: Absolute path.
        built: Whether it is a built data set. Otherwise it is a run.
        location: Where the run is, if not in the folder.
    """

    folder: Path
    built: bool
    location: str = ""

    @property
    def run(self) -> RunFolder:
        """The run."""
        return open_run(self.location or self.folder)

    @classmethod
    def at(cls, path: str | Path) -> Source:
        """The source at a path.

        Raises:
            RecipeError: There is no such folder, or it is neither a run nor a built data set.
        """
        folder = Path(path).expanduser().resolve()
        if (folder / MANIFEST).is_file() and (folder / DATA).is_dir():
            return cls(folder, built=True)
        if (folder / CURATED.path).is_dir():
            return cls(folder, built=False)
        if not folder.is_dir():
            raise RecipeError(f"{path} is not a folder: expected a run or a built data set")
        names = sorted(entry.name for entry in folder.iterdir())
        shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise RecipeError(
            f"{path} has {shown or 'no files'}: expected a built data set ({MANIFEST} and {DATA}/) or a run with "
            f"curated pairs ({CURATED}/)"
        )

    def languages(self) -> list[str]:
        """Sorted tags of its languages. Of a run, those that are complete and have rows."""
        if self.built:
            return sorted(path.name for path in (self.folder / DATA).iterdir() if path.is_dir())
        run = self.run
        tags = run.languages(CURATED)
        return [tag for tag in tags if any(run.report(key).kept for key in run.shards(CURATED, tag))]

    def tag(self, name: str) -> str:
        """The tag of one of its languages, from a tag, a code or a name. ``all`` is every language.

        Raises:
            UnknownLanguage: No standard has the language.
            RecipeError: The source does not have it.
        """
        if name == ALL:
            return ALL
        tag = language(name).tag
        tags = self.languages()
        if tag not in tags:
            kind = "data set" if self.built else "run"
            shown = f"{name!r}" if name == tag else f"{name!r} ({tag})"
            raise RecipeError(
                f"the {kind} {self.folder} does not have {shown}, only {', '.join(tags) or 'no complete language'}"
            )
        return tag

    def shards(self, tag: str) -> list[ShardKey]:
        """The curated shards of a run for a language or ``all``."""
        run = self.run
        tags = self.languages() if tag == ALL else [tag]
        return [key for each in tags for key in run.shards(CURATED, each)]

    def documents(self, shards: list[ShardKey]) -> Iterator[str]:
        """The document id of every row of some shards. No other column is read.

        Raises:
            ShardError: A shard is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        run = self.run
        for key in shards:
            path = run.sound(key)
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(columns=["document_id"]):
                        yield from batch.column(0).to_pylist()
            except (OSError, pa.ArrowInvalid) as error:
                raise ShardError(f"cannot read shard {path}: {error}; remove it and run again") from error

    def files(self, tag: str) -> dict[str, list[Path]]:
        """The files of a built data set for a language or ``all``, by split."""
        tags = self.languages() if tag == ALL else [tag]
        by_split = {
            split: [path for each in tags for path in sorted((self.folder / DATA / each).glob(f"{split}-*.parquet"))]
            for split in SPLITS
        }
        return {split: paths for split, paths in by_split.items() if paths}

    def digest(self, tag: str) -> str:
        """Hex digest of the content of every file for a language or ``all``: the key of a cache of its rows.

        It reads the files and not the digests in reports, so that a file that was replaced by hand counts.

        Raises:
            ShardError: A shard is missing.
        """
        if self.built:
            paths = [path for paths in self.files(tag).values() for path in paths]
        else:
            run = self.run
            paths = [run.path(key) for key in self.shards(tag)]
        total = hashlib.sha256()
        for path in paths:
            total.update(f"{path.relative_to(self.folder).as_posix()} {_digest(path)}\n".encode())
        return total.hexdigest()

    def check(self, tag: str) -> None:
        """Check that the files of a built data set for a language or ``all`` are unchanged.

        ``datasets`` keys its cache of a local folder by the README. After a file was changed by hand, it would give
        the rows of an earlier load.

        Raises:
            ShardError: A file is missing or differs from the manifest.
        """
        files = Manifest.read(self.folder).files
        prefix = f"{DATA}/" if tag == ALL else f"{DATA}/{tag}/"
        for path, digest in files.items():
            if path.startswith(prefix) and _digest(self.folder / path) != digest:
                raise ShardError(f"{self.folder / path} was changed after the data set was built: build it again")


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror or error}; rerun the command that made it") from error
