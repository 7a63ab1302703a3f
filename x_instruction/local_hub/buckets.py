"""Buckets: folders of plain files without history, which jobs can mount.

A bucket is a folder on the disk, and a small index of what identifies the content of its files. A job that has it
mounted writes files past this server: the index notices by size and time, and hashes them when they are listed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from x_instruction.local_hub.folder import now
from x_instruction.local_hub.names import check_name, file_path, is_name
from x_instruction.local_hub.refused import Refused, entry_not_found
from x_instruction.storage.atomic import TempDir, file_digest, rename_into_place, sync_folder


class BucketId(NamedTuple):
    """Namespace and name of a bucket."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class BucketFolder(NamedTuple):
    """A folder of a bucket, and when it was changed, in seconds."""

    path: str
    uploaded: float


class BucketFile(NamedTuple):
    """A file of a bucket.

    Args:
        path: within the bucket.
        size: in bytes.
        hash: 64 hex digits that name its content: the Xet hash of an upload, the SHA-256 of what a job wrote.
        mtime: when it was changed, in seconds.
        uploaded: when it came to the bucket, in seconds.
    """

    path: str
    size: int
    hash: str
    mtime: float
    uploaded: float


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """What is known of a bucket beside its files."""

    uid: str
    created_at: str
    private: bool = False


class Bucket:
    """One bucket."""

    def __init__(self, folder: Path, scratch: TempDir) -> None:
        self.files = folder / "files"
        self._scratch = scratch
        self.lock = threading.RLock()
        self._index = sqlite3.connect(folder / "index.sqlite", check_same_thread=False, isolation_level=None)
        # What is lost is computed again.
        self._index.execute("PRAGMA journal_mode=WAL")
        self._index.execute("PRAGMA synchronous=OFF")
        self._index.execute(
            "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, hash TEXT)"
        )
        self._index.execute("CREATE INDEX IF NOT EXISTS hashes ON files (hash)")

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def path(self, name: str) -> Path:
        """Where a file is on the disk.

        Raises:
            Refused: 400, the path leaves the bucket; 404, a job made a symbolic link of it or of a folder above it.
        """
        path = self.files / file_path(name)
        above = path
        while above != self.files:
            if above.is_symlink():
                raise entry_not_found(name)
            above = above.parent
        return path

    def find(self, name: str) -> BucketFile:
        """A file.

        Raises:
            Refused: 404.
        """
        try:
            found = self.path(name).lstat()
            if stat.S_ISREG(found.st_mode):
                return self._described(name, found)
        except (FileNotFoundError, NotADirectoryError):
            pass
        raise entry_not_found(name)

    def of_hash(self, name: str) -> BucketFile | None:
        """A file with the content of a hash, or None."""
        with self.lock:
            rows = self._index.execute("SELECT path FROM files WHERE hash = ?", (name,)).fetchall()
        for (path,) in rows:
            with contextlib.suppress(Refused):
                if (found := self.find(path)).hash == name:
                    return found
        return None

    def _described(self, name: str, found: os.stat_result) -> BucketFile:
        with self.lock:
            row = self._index.execute("SELECT size, changed, hash FROM files WHERE path = ?", (name,)).fetchone()
        if row is None or row[:2] != (found.st_size, found.st_mtime_ns):
            content = file_digest(self.files / name)
            self._note(name, found, content)
            row = (found.st_size, found.st_mtime_ns, content)
        return BucketFile(name, found.st_size, row[2], found.st_mtime, found.st_ctime)

    def _note(self, name: str, found: os.stat_result, content: str) -> None:
        with self.lock:
            self._index.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (name, found.st_size, found.st_mtime_ns, content)
            )

    def tree(self, prefix: str, recursive: bool) -> list[BucketFile | BucketFolder]:
        """The files at or below a path, and the folders right below it unless it is recursive, by path."""
        start = self.path(prefix) if prefix else self.files
        if start.is_file():
            return [self.find(prefix)]
        entries = list[BucketFile | BucketFolder]()
        for folder, folders, names in os.walk(start):
            below = Path(folder)
            for name in names:
                path = below / name
                # A job may remove it meanwhile, such as a temporary file.
                with contextlib.suppress(FileNotFoundError):
                    found = path.lstat()
                    if stat.S_ISREG(found.st_mode):
                        entries.append(self._described(path.relative_to(self.files).as_posix(), found))
            if not recursive:
                for path in (below / name for name in folders if not (below / name).is_symlink()):
                    with contextlib.suppress(FileNotFoundError):
                        entries.append(BucketFolder(path.relative_to(self.files).as_posix(), path.stat().st_mtime))
                break
        return sorted(entries, key=lambda entry: entry.path)

    def put(self, name: str, pieces: Iterable[bytes], content: str, mtime: float) -> None:
        """Write a file, atomically; an older one is replaced.

        Raises:
            Refused: 400, no path for a file, or a folder is there; what the pieces raise.
        """
        path = self.path(name)
        with self._scratch.file() as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.utime(stream.fileno(), (mtime, mtime))
            try:
                rename_into_place(stream, path)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise Refused(400, f"{name}: a file and a folder of one name cannot both be in this bucket") from None
        self._note(name, path.lstat(), content)

    def delete(self, name: str) -> None:
        """Remove a file, and the folders that are empty then; no file of that name is no error."""
        path = self.path(name)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
        with self.lock:
            self._index.execute("DELETE FROM files WHERE path = ?", (name,))
        for folder in path.parents:
            if folder == self.files:
                break
            try:
                folder.rmdir()
            except OSError:
                break

    def read(self, name: str, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The content of a file, or of a part of it."""
        with open(os.open(self.path(name), os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            stream.seek(begin)
            left = os.fstat(stream.fileno()).st_size - begin if end is None else end - begin
            while left > 0 and (piece := stream.read(min(left, 1 << 20))):
                left -= len(piece)
                yield piece


class Buckets:
    """The buckets of the served folder."""

    def __init__(self, root: Path, scratch: TempDir) -> None:
        self._root = root
        self._scratch = scratch
        self._lock = threading.RLock()
        self._open: dict[BucketId, Bucket] = {}

    def path(self, bucket: BucketId) -> Path:
        """The folder of a bucket."""
        return self._root / bucket.namespace / bucket.name

    def exists(self, bucket: BucketId) -> bool:
        """Whether there is such a bucket; no other folder is one."""
        return is_name(bucket.namespace) and is_name(bucket.name) and (self.path(bucket) / "bucket.json").is_file()

    def get(self, bucket: BucketId) -> Bucket:
        """A bucket, the same object each time.

        Raises:
            Refused: 404.
        """
        with self._lock:
            if not self.exists(bucket):
                raise Refused(404, "Bucket not found", "RepoNotFound")
            if bucket not in self._open:
                self._open[bucket] = Bucket(self.path(bucket), self._scratch)
            return self._open[bucket]

    def list(self, namespace: str) -> list[BucketId]:
        """The buckets of a namespace, by name."""
        if not is_name(namespace):
            return []
        found = (BucketId(namespace, path.name) for path in sorted((self._root / namespace).glob("*")))
        return [bucket for bucket in found if self.exists(bucket)]

    def create(self, bucket: BucketId, private: bool) -> None:
        """Make a bucket; it appears whole.

        Raises:
            Refused: 400, not a name that the Hub takes; 409, it is there.
        """
        check_name(*bucket)
        with self._lock:
            if self.exists(bucket):
                raise Refused(409, "You already created this bucket")
            folder = self._scratch.folder_for("new")
            (folder / "files").mkdir()
            settings = BucketSettings(secrets.token_hex(12), now(), private)
            self._scratch.write_json(folder / "bucket.json", asdict(settings))
            self._place(folder, self.path(bucket))

    def move(self, old: BucketId, new: BucketId) -> None:
        """Rename a bucket.

        Raises:
            Refused: 400, 404 or 409.
        """
        check_name(*new)
        with self._lock:
            self._close(old)
            if self.exists(new):
                raise Refused(409, f"{new} is there already")
            self._place(self.path(old), self.path(new))

    def delete(self, bucket: BucketId) -> None:
        """Remove a bucket; it vanishes whole.

        Raises:
            Refused: 404.
        """
        with self._lock:
            self._close(bucket)
            gone = self._scratch.folder_for("gone")
            os.rename(self.path(bucket), gone / "bucket")
        shutil.rmtree(gone)

    def _close(self, bucket: BucketId) -> None:
        self.get(bucket).close()
        del self._open[bucket]

    def _place(self, old: Path, new: Path) -> None:
        new.parent.mkdir(parents=True, exist_ok=True)
        os.rename(old, new)
        sync_folder(new.parent)

    def settings(self, bucket: BucketId) -> BucketSettings:
        """What is known of a bucket beside its files.

        Raises:
            Refused: 404.
        """
        try:
            table: dict[str, Any] = json.loads((self.path(bucket) / "bucket.json").read_text("utf-8"))
        except FileNotFoundError:
            raise Refused(404, "Bucket not found", "RepoNotFound") from None
        return BucketSettings(**table)

    def set_private(self, bucket: BucketId, private: bool) -> None:
        """Make a bucket private or public."""
        with self._lock:
            changed = replace(self.settings(bucket), private=private)
            self._scratch.write_json(self.path(bucket) / "bucket.json", asdict(changed))
