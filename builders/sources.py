"""What rows can be loaded from on this machine: the folder of a run, or the folder that ``build`` made of it."""

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
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, ShardKey


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that rows can be loaded from.

    Args:
        folder: absolute path.
        built: whether it is a built data set; else it is a run.
    """

    folder: Path
    built: bool

    @classmethod
    def at(cls, path: str | Path) -> Source:
        """The source at a path.

        Raises:
            RecipeError: there is no folder, or it is neither a run nor a built data set.
        """
        folder = Path(path).expanduser().resolve()
        if (folder / MANIFEST).is_file() and (folder / DATA).is_dir():
            return cls(folder, built=True)
        if (folder / CURATED.path).is_dir():
            return cls(folder, built=False)
        if not folder.is_dir():
            raise RecipeError(f"{path} is no folder, wanted a run or a built data set")
        held = sorted(entry.name for entry in folder.iterdir())
        shown = ", ".join(held[:10]) + (", …" if len(held) > 10 else "")
        raise RecipeError(
            f"{path} is neither a built data set ({MANIFEST} and {DATA}/) nor a run with curated pairs ({CURATED}/); "
            f"it holds {shown or 'nothing'}: name the folder of one of them"
        )

    def languages(self) -> list[str]:
        """Tags of the languages that it holds, sorted; of a run, those that are finished and have a row."""
        if self.built:
            return sorted(path.name for path in (self.folder / DATA).iterdir() if path.is_dir())
        run = RunFolder(self.folder)
        found = sorted(path.name for path in (self.folder / CURATED.path).iterdir() if path.is_dir())
        return [tag for tag in found if any(run.report(key).kept for key in run.shards(CURATED, tag))]

    def tag(self, asked: str) -> str:
        """The tag of a language that it holds, from a tag, a code or a name; ``all`` is every language.

        Raises:
            UnknownLanguage: no standard knows the language.
            RecipeError: the source does not hold it.
        """
        if asked == ALL:
            return ALL
        tag = language(asked).tag
        held = self.languages()
        if tag not in held:
            kind = "data set" if self.built else "run"
            what = f"{asked!r}" if asked == tag else f"{asked!r} ({tag})"
            raise RecipeError(
                f"the {kind} {self.folder} does not hold {what}; it holds {', '.join(held) or 'no finished language'}"
            )
        return tag

    def shards(self, tag: str) -> list[ShardKey]:
        """Every curated shard of a run behind a config."""
        run = RunFolder(self.folder)
        tags = self.languages() if tag == ALL else [tag]
        return [key for one in tags for key in run.shards(CURATED, one)]

    def documents(self, shards: list[ShardKey]) -> Iterator[str]:
        """The document of every row of some shards of a run; no other column is read.

        Raises:
            ShardError: a shard is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        for key in shards:
            path = RunFolder(self.folder).path(key)
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(columns=["document_id"]):
                        yield from batch.column(0).to_pylist()
            except (OSError, pa.ArrowInvalid) as error:
                raise ShardError(f"cannot read shard {path}: {error}; remove it and run again") from error

    def files(self, tag: str) -> dict[str, list[Path]]:
        """Files of a built data set behind a config, by split."""
        tags = self.languages() if tag == ALL else [tag]
        by_split = {
            split: [path for one in tags for path in sorted((self.folder / DATA / one).glob(f"{split}-*.parquet"))]
            for split in SPLITS
        }
        return {split: paths for split, paths in by_split.items() if paths}

    def digest(self, tag: str) -> str:
        """Digest of the content of every file behind a config, hex: what a cache of it must be keyed by.

        The files themselves are read, and not the digests in reports: a file replaced by hand counts, too.

        Raises:
            ShardError: a shard is missing.
        """
        if self.built:
            paths = [path for paths in self.files(tag).values() for path in paths]
        else:
            paths = [RunFolder(self.folder).path(key) for key in self.shards(tag)]
        total = hashlib.sha256()
        for path in paths:
            total.update(f"{path.relative_to(self.folder).as_posix()} {_digest(path)}\n".encode())
        return total.hexdigest()

    def check(self, tag: str) -> None:
        """The files of a built data set behind a config are those that were built.

        ``datasets`` keys its cache of a local folder by the README: after a change by hand, rows of an earlier load
        would come back.

        Raises:
            ShardError: a file is missing or differs from the manifest.
        """
        wanted = Manifest.read(self.folder).files
        prefix = f"{DATA}/" if tag == ALL else f"{DATA}/{tag}/"
        for path, digest in wanted.items():
            if path.startswith(prefix) and _digest(self.folder / path) != digest:
                raise ShardError(f"{self.folder / path} has another digest than when it was built: build it again")


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror or error}; run the same command again") from error
