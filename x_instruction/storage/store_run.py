"""A run in an object store: complete shards are those whose report is there.

A store has no rename, and a listing costs as much as a file. So the files of a shard are written in another order than
in a folder: the shard and its dropped rows first, and the report last, which is created only if there is none. The
report has the digests of both files. The first writer of a report wins, and another one takes over what it made.

Work is done in a folder of this machine, which holds what was downloaded, and which can be removed at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from x_instruction import hashing
from x_instruction.errors import ShardError
from x_instruction.records import Dropped, Embedded, Passage
from x_instruction.storage.atomic import file_digest
from x_instruction.storage.known_digests import cache_folder
from x_instruction.storage.lock import run_lock
from x_instruction.storage.run_folder import (
    PREVIEW,
    Listing,
    RunFolder,
    ShardReport,
    cache_name,
    file_name,
    parsed,
)
from x_instruction.storage.scratch import VARIABLE
from x_instruction.storage.shard_key import ShardKey, StageKey
from x_instruction.storage.store import Store, StoreLocks

# Seconds for which a listing answers that a shard is missing.
_FRESH = 10.0
# Seconds within which a writer that has written the shard writes its report, too.
_SETTLE = 20.0
# Reports in memory.
_MOST_REPORTS = 50_000
_REPORT = ".report.json"
_DROPPED = ".dropped.parquet"
_SHARD = ".parquet"


class StoreRun(RunFolder):
    """A run in an object store.

    Args:
        location: its prefix, such as ``s3://bucket/prefix``.

    Raises:
        ShardError: the store cannot be read, or holds a run of another layout.
        MissingExtra: the package for the store is not installed.
    """

    def __init__(self, location: str) -> None:
        self.store = Store(location)
        self._listed: dict[tuple[StageKey, str], tuple[float, Listing]] = {}
        self._reports: dict[ShardKey, tuple[str, ShardReport]] = {}
        # Downloaded files with their digests, and models, that need no other look.
        self._fetched: dict[str, str] = {}
        super().__init__(_mirror(self.store.location))

    @property
    def location(self) -> str:
        """The URL of the run."""
        return self.store.location

    @property
    def on_store(self) -> bool:
        """Whether the run is in an object store."""
        return True

    @property
    def one_process(self) -> bool:
        """Whether other processes cannot see the run."""
        return self.store.one_process

    @property
    def needs_scratch(self) -> bool:
        """Whether request caches are used elsewhere and copied back."""
        return True

    def check_place(self) -> None:
        """Check before any work that the store exists and can be written by several processes."""
        self.store.check()

    @contextlib.contextmanager
    def lock(self, rank: int = 0, of: int = 1) -> Iterator[None]:
        """Hold the run."""
        with run_lock(StoreLocks(self.store), rank, of):
            # Left by a process that was killed. A whole run is the only one here.
            for left in self.root.glob(".making-*") if of == 1 else ():
                shutil.rmtree(left)
            yield

    # Files by name

    def read_file(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        return self.store.read(name)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file, which replaces an older one at once."""
        self.store.write(name, data)

    def remove_file(self, name: str) -> None:
        """Remove a file, if it exists."""
        self.store.remove(name)
        (self.root / name).unlink(missing_ok=True)
        self._fetched.pop(name, None)

    def _digest(self, name: str) -> str:
        data = self.store.read(name)
        return "" if data is None else hashlib.sha256(data).hexdigest()

    def names(self, folder: str) -> list[str]:
        """Names of all files below a folder, relative to the run and sorted; none if there is no such folder."""
        return sorted(f"{folder}/{name}" for name in self.store.listing(folder))

    def _is_used(self) -> bool:
        return self.store.read("recipe.json") is not None

    # Listings

    def listing(self, stage: StageKey, language: str) -> Listing:
        """The shards of a language at a stage."""
        found = Listing()
        for name, stamp in self.store.listing(f"{stage.path}/{language}").items():
            found.add(name.rpartition("/")[2], stamp, _REPORT[1:])
        self._listed[stage, language] = time.monotonic(), found
        return found

    def languages(self, stage: StageKey) -> list[str]:
        """Tags of the languages that have files at a stage, sorted."""
        return self.store.folders(str(stage.path))

    def complete(self, key: ShardKey) -> bool:
        """Whether the shard is complete, as a listing of the last seconds shows."""
        place = key.stage_key, key.language
        taken, found = self._listed.get(place, (0.0, Listing()))
        if key.index not in found.complete and (not taken or time.monotonic() - taken > _FRESH):
            found = self.listing(*place)
        return key.index in found.complete

    # Shards

    def path(self, key: ShardKey, suffix: str = _SHARD) -> Path:
        """The path of a file of a shard on this machine. The files of a complete shard are downloaded."""
        path = super().path(key, suffix)
        if suffix in (_SHARD, _DROPPED) and self.complete(key):
            report = self.report(key)
            self._fetch(file_name(key, suffix), path, report.digest if suffix == _SHARD else report.dropped_digest)
        return path

    def report(self, key: ShardKey) -> ShardReport:
        """The report of a complete shard."""
        stamp = self._stamp(key)
        known = self._reports.get(key)
        if known is None or known[0] != stamp:
            known = stamp, super().report(key)
            self._remember(key, known)
        return known[1]

    def reports_of(self, keys: Iterable[ShardKey]) -> Iterator[ShardReport]:
        """Reports of complete shards, in order. Many are asked for at once."""
        asked = list(keys)
        unknown = [key for key in asked if self._reports.get(key, ("", None))[0] != self._stamp(key)]
        names = [file_name(key, _REPORT) for key in unknown]
        read = iter(zip(unknown, names, self.store.read_many(names), strict=True))
        missing = set(unknown)
        for key in asked:
            if key in missing:
                _, name, data = next(read)
                where, remedy = f"{self.location}/{name}", "remove its shard and run again"
                report = parsed(where, data, ShardReport.from_json, remedy)
                self._remember(key, (self._stamp(key), report))
                yield report
            else:
                yield self.report(key)

    def remove(self, key: ShardKey) -> None:
        """Remove a shard. The report goes first, so that what is left never looks complete."""
        for suffix in (_REPORT, _SHARD, _DROPPED, ".failed.json"):
            self.remove_file(file_name(key, suffix))
        self._forget(key)

    def write(
        self,
        report: ShardReport,
        records: Iterable[Passage | Embedded | Dropped],
        finish: Callable[[ShardReport], None] = lambda report: None,
    ) -> ShardReport:
        """Write a shard and its report. If another process has written it meanwhile, that shard stays.

        One of other settings is replaced: it was left by a run that was killed before its passages were complete.

        Returns:
            The report of the shard that is in the store.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=self.root) as folder:
            made = RunFolder(Path(folder))
            report = made.write(report, records, finish)
            self.mark_layout()
            return self._keep(made, report)

    def _keep(self, made: RunFolder, report: ShardReport) -> ShardReport:
        key = report.key
        marker = file_name(key, _REPORT)
        there = self.read_json(marker, ShardReport.from_json)
        # Both as they were read, since JSON has no tuples.
        if there is not None and there.settings != made.report(key).settings:
            self.remove(key)
            there = None
        if there is None:
            for suffix in (_DROPPED, _SHARD):
                self._upload(file_name(key, suffix), made.path(key, suffix), marker)
            won = self.store.create(marker, made.path(key, _REPORT).read_bytes())
        else:
            won = False
        self._forget(key)
        if won:
            for suffix, digest in ((_SHARD, report.digest), (_DROPPED, report.dropped_digest)):
                target = super().path(key, suffix)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(made.path(key, suffix), target)
                self._fetched[file_name(key, suffix)] = digest
        self.store.remove(file_name(key, ".failed.json"))
        return report if won else self.report(key)

    def _upload(self, name: str, path: Path, marker: str) -> None:
        """Upload a file of a shard that is not complete.

        A file that is there was left by a writer that was killed, or is of one that writes the same shard now. Their
        bytes are most often equal. If not, the other one gets the time to write its report.
        """
        data = path.read_bytes()
        if self.store.create(name, data):
            return
        ends = time.monotonic() + _SETTLE
        while self.store.read(name) != data:
            if self.store.read(marker) is not None:
                return
            if time.monotonic() > ends:
                self.store.write(name, data)
                return
            time.sleep(_SETTLE / 20)

    def _fetch(self, name: str, path: Path, digest: str) -> None:
        """Download a file, unless it is here.

        Raises:
            ShardError: its bytes are not those that its report describes.
        """
        if self._fetched.get(name) == digest and path.exists():
            return
        if not (path.exists() and file_digest(path) == digest):
            data = self.store.read(name)
            found = "" if data is None else hashlib.sha256(data).hexdigest()
            if data is None or found != digest:
                fault = "is missing" if data is None else "has other bytes than its report says"
                raise ShardError(
                    f"{self.location}/{name} {fault}: remove the files of this shard from the store and run the same "
                    "command again"
                )
            _place(path, data)
        self._fetched[name] = digest

    def _stamp(self, key: ShardKey) -> str:
        place = key.stage_key, key.language
        if place not in self._listed or key.index not in self._listed[place][1].stamps:
            self.listing(*place)
        return self._listed[place][1].stamps.get(key.index, "")

    def _remember(self, key: ShardKey, known: tuple[str, ShardReport]) -> None:
        if len(self._reports) >= _MOST_REPORTS:
            self._reports.clear()
        self._reports[key] = known

    def _forget(self, key: ShardKey) -> None:
        self._listed.pop((key.stage_key, key.language), None)
        self._reports.pop(key, None)

    # Request caches

    def fetch_cache(self, key: ShardKey, path: Path) -> None:
        """Copy the request cache of a shard to a local disk, if there is one."""
        self.store.fetch(cache_name(key), path)

    def keep_cache(self, key: ShardKey, path: Path) -> None:
        """Replace the request cache of a shard by a file of a local disk."""
        self.store.write(cache_name(key), path.read_bytes())

    def caches(self, stage: StageKey) -> list[Path]:
        """The request caches of a stage, downloaded to read."""
        folder = f"cache/{stage.path}"
        found = []
        for name, stamp in sorted(self.store.listing(folder).items()):
            path = self.root / "read" / folder / f"{name}-{hashing.digest(stamp)[:8]}"
            if path.exists() or self.store.fetch(f"{folder}/{name}", path):
                found.append(path)
        return found

    def preview(self) -> RunFolder:
        """The preview of the run, which may not exist."""
        return StoreRun(f"{self.location}/{PREVIEW}")

    def preview_cache(self, key: ShardKey) -> Path:
        """The request cache of the preview of a shard, which may not exist."""
        path = self.root / PREVIEW / cache_name(key)
        if not path.exists():
            self.store.fetch(f"{PREVIEW}/{cache_name(key)}", path)
        return path

    # Models

    def model(self, name: str) -> Path:
        """The folder of a model that the run trains. It is downloaded if it is in the store."""
        path = super().model(name)
        made = None if name in self._fetched else self.store.read(f"models/{name}/made.json")
        if made is not None and not ((path / "made.json").is_file() and (path / "made.json").read_bytes() == made):
            fresh = path.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
            for file in self.store.listing(f"models/{name}"):
                self.store.fetch(f"models/{name}/{file}", fresh / file)
            shutil.rmtree(path, ignore_errors=True)
            fresh.rename(path)
        if made is not None:
            self._fetched[name] = ""
        return path

    def keep_model(self, name: str) -> None:
        """Upload a model, the record that makes it complete last."""
        path = super().model(name)
        if name in self._fetched or self.store.read(f"models/{name}/made.json") is not None:
            return
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != "made.json")
        for file in [*files, path / "made.json"]:
            self.store.write(f"models/{name}/{file.relative_to(path).as_posix()}", file.read_bytes())
        self._fetched[name] = ""

    def remove_model(self, name: str) -> None:
        """Remove a model."""
        self.store.remove(f"models/{name}/made.json")
        for file in self.store.listing(f"models/{name}"):
            self.store.remove(f"models/{name}/{file}")
        self._fetched.pop(name, None)
        super().remove_model(name)


def _mirror(location: str) -> Path:
    """The folder of this machine for a run in a store."""
    base = os.environ.get(VARIABLE)
    folder = Path(base) if base else cache_folder()
    identity = [location, *(os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL", "HF_ENDPOINT"))]
    return folder / "runs" / f"{location.rpartition('/')[2]}-{hashing.digest(identity)[:12]}"


def _place(path: Path, data: bytes) -> None:
    """Write a file that appears when it is complete. It can be downloaded again, so it need not reach the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fresh.write_bytes(data)
    os.replace(fresh, path)
