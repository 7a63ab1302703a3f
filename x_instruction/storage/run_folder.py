"""The folder of a run: one Parquet file per shard, with its report and its dropped records beside it.

A shard that exists is complete. Its report and dropped records are written first and the shard last, each to a
temporary file that is synced and renamed. If the process is killed, a shard is either whole or absent, and an absent
shard is made again.

    <run>/run.json                                      version of this layout
    <run>/recipe.json                                   the recipe, with every default
    <run>/passage/<language>/00000.parquet              records
    <run>/passage/<language>/00000.report.json          counts, seconds, tokens, and the settings of the shard
    <run>/passage/<language>/00000.dropped.parquet      records that were dropped, with reasons
    <run>/passage/<language>/00000.failed.json          why the shard was set aside, until it is made
    <run>/passage/<language>/index.json                 number of shards of the language, once it is known
    <run>/passage/<language>/1000/01000.parquet         each thousand shards after the first has a folder
    <run>/candidate/round-0/<language>/00000.parquet    stages that rounds make again have a folder per round
    <run>/cache/candidate/round-0/<language>/00000.sqlite
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import operator
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from x_instruction.errors import ShardError
from x_instruction.hashing import sealed, unsealed
from x_instruction.records import SHARDS, STAGES, Dropped, Embedded, Passage, Stored, schema
from x_instruction.storage.atomic import atomic, file_digest, sweep
from x_instruction.storage.file_system import is_network
from x_instruction.storage.lock import run_lock
from x_instruction.storage.shard_key import BLOCK, PASSAGE, ShardKey, StageKey

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Read = TypeVar("Read")

# Records per Arrow batch: bounds memory while a shard is written or read.
BATCH = 1_000
# Version of the layout of a run folder. Layout 1 had no run.json, and named rounds in folders such as rated_1.
LAYOUT = 2
_LAYOUT_FILE = "run.json"
# The folder of a run for its preview, which is a small run of its own.
PREVIEW = "preview"


@dataclass(slots=True)
class ShardReport:
    """What happened while one shard was made.

    Args:
        key: the shard.
        settings: dotted key to value: everything that decides the content of the shard.
        rows_in: records that came in.
        kept: records in the shard.
        dropped: reason to number of records.
        requests: requests that an engine answered, now or earlier (from the request cache).
        requests_sent: requests sent to an engine, over all attempts.
        seconds: time spent in the stage, over all attempts.
        prompt_tokens, output_tokens: tokens read and written by engines, over all attempts.
        cost: cost of these tokens at the prices of the recipe; 0 without prices.
        digest: SHA-256 of the Parquet file.
        dropped_digest: SHA-256 of the file of dropped records; empty in reports of earlier versions.
        halved_batches: whether a GPU had too little memory, and the model ran in batches of half the size. Its answers
            can differ in the last digits from those of whole batches.
    """

    key: ShardKey
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
    dropped_digest: str = ""
    halved_batches: bool = False

    def as_json(self) -> dict[str, Any]:
        """The report as a flat table, with the fields of the key first and a checksum of them all last."""
        table = dataclasses.asdict(self)
        return sealed({**table.pop("key"), **table})

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> ShardReport:
        """The report in a table that ``as_json`` made.

        Raises:
            KeyError, TypeError: a field is missing or unknown.
            ValueError: a field was changed since.
        """
        table = unsealed(table)
        key = ShardKey(**{name: table[name] for name in ShardKey.__dataclass_fields__})
        return cls(key, **{name: value for name, value in table.items() if name not in ShardKey.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class ShardFailure:
    """Why a shard was set aside.

    Args:
        reason: in one line.
        attempts: how often it was tried.
    """

    reason: str
    attempts: int


@dataclass(slots=True)
class Listing:
    """The shards of a language at a stage, as one look at their folders shows them.

    Args:
        present: numbers of shards of which any file exists.
        complete: numbers of complete shards.
        stamps: number of a shard to a text that changes when its report does.
    """

    present: set[int] = field(default_factory=set)
    complete: set[int] = field(default_factory=set)
    stamps: dict[int, str] = field(default_factory=dict)

    def add(self, name: str, stamp: str, marker: str) -> None:
        """Add a file.

        Args:
            name: of the file.
            stamp: changes when the file does.
            marker: suffix of the file that makes a shard complete.
        """
        stem, _, suffix = name.partition(".")
        if not stem.isdigit():
            return
        index = int(stem)
        self.present.add(index)
        if suffix == marker:
            self.complete.add(index)
        if suffix == "report.json":
            self.stamps[index] = stamp


class RunFolder:
    """The folder of one run: shards, their reports, and the request cache. Nothing is written when it is opened.

    Args:
        root: the folder; it may not exist yet.

    Raises:
        ShardError: the folder holds a run of another layout.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Files of shards that were compared with their reports, and the time and size that they had.
        self._compared: dict[str, tuple[int, int]] = {}
        self._check_layout()

    @property
    def location(self) -> str:
        """Where the run is: ``open_run`` opens it from another process."""
        return str(self.root)

    @property
    def on_store(self) -> bool:
        """Whether the run is in an object store, and ``root`` a copy of a part of it on this machine."""
        return False

    @property
    def one_process(self) -> bool:
        """Whether other processes cannot see the run."""
        return False

    def check_place(self) -> None:
        """Check before any work that the run can be kept where it is.

        Raises:
            ShardError: an object store does not exist, cannot be written, or lets two writers create one object.
        """

    def lock(self, rank: int = 0, of: int = 1) -> contextlib.AbstractContextManager[None]:
        """Hold the run. See ``storage.lock.run_lock``."""
        return run_lock(self.root, rank, of)

    def read_file(self, name: str) -> bytes | None:
        """The content of a file; None if there is none.

        Args:
            name: relative to the run, with slashes.
        """
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ShardError(f"cannot read {self.root / name}: {error.strerror or error}") from error

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file, which replaces an older one at once."""
        with atomic(self.root / name) as stream:
            stream.write(data)

    def remove_file(self, name: str) -> None:
        """Remove a file, if it exists."""
        (self.root / name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """Names of all files below a folder, relative to the run and sorted; none if there is no such folder."""
        found = (path for path in (self.root / folder).rglob("*") if path.is_file())
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def read_json(
        self, name: str, read: Callable[[Any], Read], remedy: str = "remove its shard and run again"
    ) -> Read | None:
        """What a JSON file says; None if there is none.

        Args:
            name: relative to the run, with slashes.
            read: takes the value that it holds.
            remedy: what to do if it is damaged.

        Raises:
            ShardError: it is.
        """
        data = self.read_file(name)
        return None if data is None else parsed(f"{self.location}/{name}", data, read, remedy)

    def _check_layout(self) -> None:
        remedy = f'write {{"layout": {LAYOUT}}} into it'
        version = self.read_json(_LAYOUT_FILE, lambda table: int(unsealed(table)["layout"]), remedy)
        if version is None:
            # A folder with neither a recipe nor shards is no run yet.
            version = 1 if self._is_used() else LAYOUT
        if version != LAYOUT:
            raise ShardError(
                f"{self.location} has run layout {version}, and this version of x-instruction reads layout {LAYOUT}: "
                "use the version that made it, or make the data again in another --out folder"
            )

    def _is_used(self) -> bool:
        return any((self.root / name).exists() for name in ("recipe.json", *STAGES))

    def mark_layout(self, preview: bool = False) -> None:
        """Write the version of the layout, if it is not there yet.

        Args:
            preview: whether the folder is the preview of a run.
        """
        if self.read_file(_LAYOUT_FILE) is None:
            marks = {"layout": LAYOUT} | ({"preview": True} if preview else {})
            self.write_file(_LAYOUT_FILE, json.dumps(sealed(marks)).encode())

    def model(self, name: str) -> Path:
        """The folder of a model that the run trains. If it exists, the model is complete."""
        return self.root / "models" / name

    def keep_model(self, name: str) -> None:
        """Keep a model that was trained in its folder where the run is."""

    def remove_model(self, name: str) -> None:
        """Remove a model."""
        shutil.rmtree(self.root / "models" / name)

    def path(self, key: ShardKey, suffix: str = ".parquet") -> Path:
        """The path of a shard, or of its ``.report.json`` or ``.dropped.parquet``."""
        return self.root / file_name(key, suffix)

    def cache(self, key: ShardKey) -> Path:
        """The request cache of a shard, on this machine."""
        return self.root / cache_name(key)

    def caches(self, stage: StageKey) -> list[Path]:
        """The request caches of a stage, to read."""
        return sorted((self.root / "cache" / stage.path).rglob("*.sqlite"))

    @property
    def needs_scratch(self) -> bool:
        """Whether request caches cannot be used where they are. See ``storage.scratch``."""
        return is_network(self.root)

    def fetch_cache(self, key: ShardKey, target: Path) -> None:
        """Copy the request cache of a shard to a file, if there is one."""
        # A log beside it is of a killed process that used it where it is.
        for suffix in ("", "-wal"):
            if os.path.exists(f"{self.cache(key)}{suffix}"):
                shutil.copyfile(f"{self.cache(key)}{suffix}", f"{target}{suffix}")

    def keep_cache(self, key: ShardKey, source: Path) -> None:
        """Replace the request cache of a shard with a copy of a file that is whole."""
        with atomic(self.cache(key)) as stream, open(source, "rb") as copied:
            shutil.copyfileobj(copied, stream)
        Path(f"{self.cache(key)}-wal").unlink(missing_ok=True)

    @property
    def is_preview(self) -> bool:
        """Whether the folder is the preview of a run."""
        return bool(self.read_json(_LAYOUT_FILE, lambda table: bool(unsealed(table).get("preview"))))

    def preview(self) -> RunFolder:
        """The preview of the run, which may not exist."""
        return RunFolder(self.root / PREVIEW)

    def preview_cache(self, key: ShardKey) -> Path:
        """The request cache of the preview of a shard, which may not exist."""
        return self.preview().cache(key)

    def complete(self, key: ShardKey) -> bool:
        """Whether the shard exists. A shard that exists is whole."""
        return os.path.exists(f"{self.root}/{file_name(key)}")

    def count(self, stage: StageKey, language: str) -> int | None:
        """How many shards the language has at this stage, or None while that is not known."""
        return self.read_json(_index(stage, language), _number_of_shards)

    def shards(self, stage: StageKey, language: str) -> list[ShardKey]:
        """The keys of all shards of the language at this stage; none while their number is not known."""
        return [stage.shard(language, index) for index in range(self.count(stage, language) or 0)]

    def finish(self, stage: StageKey, language: str, shards: int) -> None:
        """Record the number of shards that the language has at this stage; shards beyond it are removed."""
        for key in self._present(stage, language):
            if key.index >= shards:
                self.remove(key)
        self.mark_layout()
        self.write_file(_index(stage, language), json.dumps(sealed({"shards": shards})).encode())

    def report(self, key: ShardKey) -> ShardReport:
        """The report of a complete shard."""
        name = file_name(key, ".report.json")
        report = self.read_json(name, ShardReport.from_json)
        if report is None:
            raise ShardError(f"cannot read {self.location}/{name}: no such file; remove its shard and run again")
        return report

    def damaged(self, report: ShardReport) -> list[str]:
        """Names of the files of a shard whose bytes are not those that its report describes."""
        expected = {".parquet": report.digest, ".dropped.parquet": report.dropped_digest}
        names = {file_name(report.key, suffix): digest for suffix, digest in expected.items() if digest}
        return [name for name, digest in names.items() if self._digest(name) != digest]

    def _digest(self, name: str) -> str:
        path = self.root / name
        return file_digest(path) if path.exists() else ""

    def reports(self, stage: StageKey) -> Iterator[ShardReport]:
        """Reports of every complete shard of a stage, by language and index."""
        for language in self.languages(stage):
            complete = self.listing(stage, language).complete
            yield from self.reports_of(stage.shard(language, index) for index in sorted(complete))

    def reports_of(self, keys: Iterable[ShardKey]) -> Iterator[ShardReport]:
        """Reports of complete shards, in order."""
        return map(self.report, keys)

    def languages(self, stage: StageKey) -> list[str]:
        """Tags of the languages that have files at a stage, sorted."""
        folder = self.root / stage.path
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def listing(self, stage: StageKey, language: str) -> Listing:
        """The shards of a language at a stage. A loop over many shards takes one listing instead of many ``complete``.

        Raises:
            ShardError: an earlier version made the shards, and placed more than the first thousand in one folder.
        """
        found = Listing()
        folder = f"{self.root}/{stage.path}/{language}"
        for name, stamp in _files(folder):
            if not stamp:
                for inner, inner_stamp in _files(f"{folder}/{name}"):
                    found.add(inner, inner_stamp, "parquet")
                continue
            found.add(name, stamp, "parquet")
            if name[:4].isdigit() and int(name.partition(".")[0]) >= BLOCK:
                raise ShardError(
                    f"an earlier version of x-instruction made {folder}, which has more than {BLOCK:,} shards in one "
                    "folder: use that version, or make the data again in another --out folder"
                )
        return found

    def set_aside(self, key: ShardKey, reason: str, attempts: int) -> None:
        """Record why a shard could not be made. The record is removed when the shard is made.

        Args:
            key: the shard.
            reason: in one line.
            attempts: how often it was tried.
        """
        data = json.dumps({"reason": reason, "attempts": attempts}).encode()
        self.write_file(file_name(key, ".failed.json"), data)

    def failure(self, key: ShardKey) -> ShardFailure | None:
        """Why a shard was set aside; None if it was not."""
        return self.read_json(file_name(key, ".failed.json"), lambda table: ShardFailure(**table), "remove it")

    def failures(self, stage: StageKey) -> Iterator[tuple[ShardKey, ShardFailure]]:
        """The shards of a stage that were set aside, by language and index, and why."""
        for language in self.languages(stage):
            found = self.listing(stage, language)
            # The first passages of a language may be complete, and its task is the shard 0.
            for index in sorted(found.present if stage == PASSAGE else found.present - found.complete):
                key = stage.shard(language, index)
                if failure := self.failure(key):
                    yield key, failure

    def remove(self, key: ShardKey) -> None:
        """Remove a shard. The Parquet file goes first, so that what is left never looks complete."""
        for suffix in (".parquet", ".report.json", ".dropped.parquet", ".failed.json"):
            self.remove_file(file_name(key, suffix))

    def clear(self, stage: StageKey, language: str) -> None:
        """Remove all shards of a language at a stage. Their number is not known any more."""
        self.remove_file(_index(stage, language))
        for key in self._present(stage, language):
            self.remove(key)

    def _present(self, stage: StageKey, language: str) -> list[ShardKey]:
        """Keys of the shards of which any file exists."""
        return [stage.shard(language, index) for index in sorted(self.listing(stage, language).present)]

    def write(
        self,
        report: ShardReport,
        records: Iterable[Passage | Embedded | Dropped],
        finish: Callable[[ShardReport], None] = lambda report: None,
    ) -> ShardReport:
        """Write a shard and its report. One process at a time may write a shard.

        Args:
            report: key and settings; the counts are filled in here.
            records: output of the stage, kept and dropped in any order; the order is kept.
            finish: called after the last record, to fill in seconds and tokens.
        """
        kept: list[Passage | Embedded] = []
        lost: list[Dropped] = []
        shard = self.path(report.key)
        shard_schema = schema(SHARDS[report.key.stage])
        self.mark_layout()
        sweep(shard.parent.glob(f".{shard.stem}.*.tmp"))
        with atomic(shard) as shard_stream:
            with (
                atomic(self.path(report.key, ".dropped.parquet")) as dropped_stream,
                _writer(shard_stream, shard_schema) as write_kept,
                _writer(dropped_stream, schema(Dropped)) as write_dropped,
            ):
                reasons: Counter[str] = Counter()
                for record in _from_stage(records, shard):
                    if isinstance(record, Dropped):
                        reasons[record.reason] += 1
                        lost.append(record)
                    else:
                        report.kept += 1
                        kept.append(record)
                    if len(kept) >= BATCH:
                        write_kept(kept)
                        kept = []
                    if len(lost) >= BATCH:
                        write_dropped(lost)
                        lost = []
                write_kept(kept)
                write_dropped(lost)
            report.dropped = dict(sorted(reasons.items()))
            shard_stream.flush()
            report.digest = file_digest(Path(shard_stream.name))
            report.dropped_digest = file_digest(self.path(report.key, ".dropped.parquet"))
            finish(report)
            with atomic(self.path(report.key, ".report.json")) as out:
                out.write(json.dumps(report.as_json(), indent=1).encode())
        self.path(report.key, ".failed.json").unlink(missing_ok=True)
        return report

    def read(self, key: ShardKey) -> Iterator[Passage]:
        """The records of a complete shard, in order.

        Raises:
            ShardError: the file is missing, damaged or of another schema.
        """
        yield from _read(self.sound(key), cast(type[Passage], SHARDS[key.stage]), f"a {key.stage} shard")

    def sound(self, key: ShardKey, suffix: str = ".parquet") -> Path:
        """The path of a file of a complete shard. Its bytes are compared with the report once, and when it changes.

        Raises:
            ShardError: the bytes are not those that the report describes.
        """
        path, name = self.path(key, suffix), file_name(key, suffix)
        try:
            status = path.stat()
        except FileNotFoundError:
            # The reader says what is missing.
            return path
        stamp = status.st_mtime_ns, status.st_size
        if self._compared.get(name) != stamp:
            report = self.report(key)
            digest = report.digest if suffix == ".parquet" else report.dropped_digest
            if digest and file_digest(path) != digest:
                raise ShardError(
                    f"{self.location}/{name} is damaged: its bytes are not those that its report describes; remove the "
                    "files of this shard and run the same command again"
                )
            self._compared[name] = stamp
        return path

    def columns(self, key: ShardKey, names: Sequence[str] | None = None) -> pa.Table:
        """Columns of a complete shard, all by default.

        Raises:
            ShardError: the file is missing, damaged or of another schema.
        """
        record_type = SHARDS[key.stage]
        with _opened(self.sound(key), record_type, f"a {key.stage} shard") as file:
            return file.read(columns=names)

    def batches(self, key: ShardKey, rows: int = BATCH) -> Iterator[pa.RecordBatch]:
        """The records of a complete shard, at most ``rows`` at a time.

        Raises:
            ShardError: the file is missing, damaged or of another schema.
        """
        with _opened(self.sound(key), SHARDS[key.stage], f"a {key.stage} shard") as file:
            yield from file.iter_batches(batch_size=rows)

    def dropped(self, key: ShardKey) -> Iterator[Dropped]:
        """The records that were dropped while a complete shard was made, in order.

        Raises:
            ShardError: the file is missing, damaged or of another schema.
        """
        yield from _read(self.sound(key, ".dropped.parquet"), Dropped, "the dropped rows of a shard")


def file_name(key: ShardKey, suffix: str = ".parquet") -> str:
    """The name of a file of a shard, relative to the run."""
    return f"{key.folder}/{key.index:05d}{suffix}"


def cache_name(key: ShardKey) -> str:
    """The name of the request cache of a shard, relative to the run."""
    return f"cache/{file_name(key, '.sqlite')}"


def _number_of_shards(table: Any) -> int:
    fields = unsealed(table)
    if fields.keys() != {"shards"}:
        raise ValueError(f"it has the fields {', '.join(fields) or 'none'}, expected 'shards'")
    return int(fields["shards"])


def _index(stage: StageKey, language: str) -> str:
    return f"{stage.path}/{language}/index.json"


def _files(folder: str) -> Iterator[tuple[str, str]]:
    """Names in a folder, each with a text that changes when the file does: empty for the folder of a block of shards.

    Reports alone are looked at, because nothing asks for the stamps of other files.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".report.json"):
                    status = entry.stat()
                    yield entry.name, f"{status.st_mtime_ns}-{status.st_size}"
                elif "." in entry.name:
                    yield entry.name, "-"
                elif entry.name.isdigit():
                    yield entry.name, ""
    except FileNotFoundError:
        return


def _read(path: Path, record_type: type[Stored], what: str) -> Iterator[Stored]:
    with _opened(path, record_type, what) as file:
        names = list(record_type.__dataclass_fields__)
        for batch in file.iter_batches(batch_size=BATCH):
            # By column, because a dictionary of each row takes several times as long.
            columns = [batch.column(name).to_pylist() for name in names]
            for values in zip(*columns, strict=True):
                yield record_type(**dict(zip(names, values, strict=True)))


@contextlib.contextmanager
def _opened(path: Path, record_type: type[Any], what: str) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema(record_type)):
                raise ShardError(f"{path} has other columns than {what} of this version")
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"cannot read shard {path}: {error}; remove it and run the same command again") from error


def _from_stage(records: Iterable[Passage | Embedded | Dropped], shard: Path) -> Iterator[Passage | Embedded | Dropped]:
    """The records of the stage. An error of the stage must not read as if the shard could not be written."""
    try:
        yield from records
    except OSError as error:
        raise ShardError(f"making {shard} failed: {error}; fix this and run the same command again") from error


@contextlib.contextmanager
def _writer(stream: IO[bytes], fixed: pa.Schema) -> Iterator[Callable[[list[Any]], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = operator.attrgetter(*fixed.names)
    with pq.ParquetWriter(stream, fixed, compression="zstd") as writer:

        def write(records: list[Any]) -> None:
            if records:
                columns = zip(*map(values, records), strict=True)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, fixed, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=fixed))

        yield write


def table_of(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a JSON file of a run.

    Raises:
        ShardError: the file is missing or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror or error}; {remedy}") from error
    return parsed(str(path), data, unsealed, remedy)


def parsed(name: str, data: bytes, read: Callable[[Any], Read], remedy: str) -> Read:
    """What a JSON file of a run says.

    Args:
        name: of the file, for messages.
        data: its content.
        read: takes the value that it holds.
        remedy: what to do if it is damaged.

    Raises:
        ShardError: it is.
    """
    try:
        return read(json.loads(data.decode("utf-8")))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ShardError(f"cannot read {name}: {error}; {remedy}") from error
