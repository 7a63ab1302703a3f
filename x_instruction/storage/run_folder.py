"""Shards: one Parquet file per language, age and index, with its report beside it.

A shard that exists is complete: report and dropped records are written first, the shard last, each under a temporary
name, synced and renamed. So a kill at any moment leaves a shard whole or absent, and absence means: make it again.

    <run>/<age>/<language>/00000.parquet           the records
    <run>/<age>/<language>/00000.report.json       counts, seconds, tokens, settings it was made under
    <run>/<age>/<language>/00000.dropped.parquet   what was let go, with reasons
    <run>/<age>/<language>/index.json              how many shards the language has at this age
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from x_instruction.errors import ShardError
from x_instruction.records import Dropped, Passage, as_row, from_row, schema
from x_instruction.records import kind as age_of
from x_instruction.storage.atomic import atomic, file_digest

if TYPE_CHECKING:
    import pyarrow as pa

Read = TypeVar("Read")

# Records per Arrow batch: bounds memory while a shard is written or read.
BATCH = 1_000


@dataclass(slots=True)
class ShardReport:
    """What happened while one shard was made.

    Args:
        settings: dotted key to value: everything that decides the shard's content.
        rows_in: records that came in.
        kept: records in the shard.
        dropped: reason to number.
        requests: requests answered by an engine, whether now or from the cache.
        requests_sent: requests handed to an engine, over all attempts.
        seconds: time spent in the stage, over all attempts.
        prompt_tokens, output_tokens: tokens read and written by engines, over all attempts.
        cost: what those tokens cost, by the prices of the recipe; 0 without prices.
        digest: SHA-256 of the Parquet file.
    """

    age: str
    language: str
    index: int
    settings: dict[str, Any] = field(default_factory=dict)
    rows_in: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    requests_sent: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    digest: str = ""


class RunFolder:
    """The folder of one run: its shards, their reports and the request cache."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, age: str, language: str, index: int, kind: str = "parquet") -> Path:
        """Where a shard (or its ``report.json``, ``dropped.parquet``) stands."""
        return self.root / age / language / f"{index:05d}.{kind}"

    def cache(self, age: str, language: str, index: int) -> Path:
        """Where the requests of one shard are remembered."""
        return self.root / "cache" / age / language / f"{index:05d}.sqlite"

    def complete(self, age: str, language: str, index: int) -> bool:
        """Whether the shard exists, and so is whole."""
        return self.path(age, language, index).exists()

    def count(self, age: str, language: str) -> int | None:
        """How many shards the language has at this age, or None while that is open."""
        path = self.root / age / language / "index.json"
        if not path.exists():
            return None
        return _json(path, lambda table: int(table["shards"]))

    def finish(self, age: str, language: str, shards: int) -> None:
        """Say that the language has this many shards at this age; shards beyond are removed."""
        for index in self._indices(age, language):
            if index >= shards:
                self.remove(age, language, index)
        with atomic(self.root / age / language / "index.json") as stream:
            stream.write(json.dumps({"shards": shards}).encode())

    def report(self, age: str, language: str, index: int) -> ShardReport:
        """The report of a complete shard."""
        return _json(self.path(age, language, index, "report.json"), lambda table: ShardReport(**table))

    def reports(self, age: str) -> Iterator[ShardReport]:
        """Reports of every complete shard of an age, by language and index."""
        for path in sorted(self.root.glob(f"{age}/*/[0-9]*.parquet")):
            if not path.name.endswith(".dropped.parquet"):
                yield self.report(age, path.parent.name, int(path.name.split(".")[0]))

    def remove(self, age: str, language: str, index: int) -> None:
        """Remove a shard, the shard itself first, so that what is left never looks complete."""
        for kind in ("parquet", "report.json", "dropped.parquet"):
            self.path(age, language, index, kind).unlink(missing_ok=True)

    def clear(self, age: str, language: str) -> None:
        """Remove all shards of a language at an age; their number is open again."""
        (self.root / age / language / "index.json").unlink(missing_ok=True)
        for index in self._indices(age, language):
            self.remove(age, language, index)

    def _indices(self, age: str, language: str) -> list[int]:
        """Indices of the shards of which any file is there."""
        return sorted({int(path.name.split(".")[0]) for path in (self.root / age / language).glob("[0-9]*.*")})

    def write(
        self,
        report: ShardReport,
        records: Iterable[Passage | Dropped],
        finish: Callable[[ShardReport], None] = lambda report: None,
    ) -> ShardReport:
        """Write a shard and its report.

        Args:
            report: age, language, index and settings; counts are filled in here.
            records: what the stage gives, kept and dropped in any order; the order is kept.
            finish: called when the records have ended, to fill in seconds and tokens.
        """
        kept: list[Passage] = []
        let_go: list[Dropped] = []
        shard = self.path(report.age, report.language, report.index)
        gone = self.path(report.age, report.language, report.index, "dropped.parquet")
        shard_schema = schema(age_of(report.age))
        with atomic(shard) as shard_stream:
            with (
                atomic(gone) as gone_stream,
                _writer(shard_stream, shard_schema) as write_kept,
                _writer(gone_stream, schema(Dropped)) as write_dropped,
            ):
                reasons: Counter[str] = Counter()
                for record in _from_stage(records, shard):
                    if isinstance(record, Dropped):
                        reasons[record.reason] += 1
                        let_go.append(record)
                    else:
                        report.kept += 1
                        kept.append(record)
                    if len(kept) >= BATCH:
                        write_kept(kept)
                        kept = []
                    if len(let_go) >= BATCH:
                        write_dropped(let_go)
                        let_go = []
                write_kept(kept)
                write_dropped(let_go)
            report.dropped = dict(sorted(reasons.items()))
            shard_stream.flush()
            report.digest = file_digest(Path(shard_stream.name))
            finish(report)
            with atomic(self.path(report.age, report.language, report.index, "report.json")) as out:
                out.write(json.dumps(dataclasses.asdict(report), indent=1).encode())
        return report

    def read(self, age: str, language: str, index: int) -> Iterator[Passage]:
        """The records of a complete shard, in order.

        Raises:
            ShardError: the file is missing, damaged or of another schema.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(age, language, index)
        kind = age_of(age)
        try:
            with pq.ParquetFile(path) as file:
                if not file.schema_arrow.equals(schema(kind)):
                    raise ShardError(f"{path} has other columns than a {age} shard of this version")
                for batch in file.iter_batches(batch_size=BATCH):
                    for row in batch.to_pylist():
                        yield from_row(kind, row)
        except (OSError, pa.ArrowInvalid) as error:
            raise ShardError(f"cannot read shard {path}: {error}; remove it and run the same command again") from error


def _from_stage(records: Iterable[Passage | Dropped], shard: Path) -> Iterator[Passage | Dropped]:
    """The stage's records; what fails in the stage must not read as if the shard could not be written."""
    try:
        yield from records
    except OSError as error:
        raise ShardError(f"making {shard} failed: {error}; mend it and run the same command again") from error


@contextlib.contextmanager
def _writer(stream: IO[bytes], fixed: pa.Schema) -> Iterator[Callable[[list[Any]], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(stream, fixed, compression="zstd") as writer:

        def write(records: list[Any]) -> None:
            if records:
                rows = [as_row(record) for record in records]
                writer.write_table(pa.Table.from_pylist(rows, schema=fixed))

        yield write


def _json(path: Path, read: Callable[[Any], Read]) -> Read:
    try:
        return read(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"cannot read {path}: {error}; remove its shard and run again") from error
