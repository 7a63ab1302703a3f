"""Object stores, through fsspec: files by name below a prefix.

Everything goes through few verbs, each of which is one request or one listing. ``create`` is the one that decides
between writers: of several that create the same file, one succeeds.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from x_instruction.errors import MissingExtra, ShardError
from x_instruction.storage.atomic import atomic

# File systems that run no command and read nothing but bytes.
PROTOCOLS = frozenset({"abfs", "abfss", "az", "gcs", "gs", "hf", "memory", "oci", "oss", "s3", "s3a"})
# Of the Hub, buckets alone: a write to a repository would be a commit.
BUCKETS = "hf://buckets/"
# Files that are asked for at once.
_AT_ONCE = 256


def is_store(location: str | Path) -> bool:
    """Whether a location is a URL of an object store, and not a folder."""
    return isinstance(location, str) and "://" in location and not location.startswith("file://")


class Store:
    """The files below a prefix of an object store.

    Args:
        location: the prefix, such as ``s3://bucket/prefix``.

    Raises:
        ShardError: the protocol is unknown, or its settings are wrong.
        MissingExtra: the package for the protocol is not installed.
    """

    def __init__(self, location: str) -> None:
        import fsspec

        self.location = location.rstrip("/")
        protocol, _, path = location.partition("://")
        if protocol not in PROTOCOLS:
            raise ShardError(
                f"{location} has the protocol {protocol!r}, expected a folder or one of {', '.join(sorted(PROTOCOLS))}"
            )
        if not path.strip("/"):
            raise ShardError(f"{location} names no bucket, expected one such as s3://bucket/prefix")
        self._is_hub = protocol == "hf"
        if self._is_hub:
            _prepare_hub(self.location)
        try:
            # Another process may add files at any time, so no listing may come from a cache.
            self._files, self._root = fsspec.core.url_to_fs(self.location, use_listings_cache=False)
        except ImportError as error:
            if protocol in ("s3", "s3a"):
                raise MissingExtra("s3fs", "s3") from None
            raise ShardError(f"cannot use {location}: {error}") from None
        except ValueError as error:
            raise ShardError(f"cannot use {location}: {error}") from error
        self._root = self._root.rstrip("/")

    @property
    def one_process(self) -> bool:
        """Whether other processes cannot see the files."""
        return "memory" in self._files.protocol

    def check(self) -> None:
        """Check that files can be created, once each, and removed.

        Raises:
            ShardError: the bucket does not exist, cannot be written, or does not support conditional writes.
        """
        if self._is_hub:
            _check_token(self.location)
        probe = f".probe-{secrets.token_hex(8)}"
        with self._explained("write into", probe, missing="its bucket does not exist: create it first"):
            self._files.pipe_file(self._path(probe), b"1", mode="create")
        try:
            twice = self.create(probe, b"2")
        finally:
            self.remove(probe)
        if twice:
            raise ShardError(
                f"{self.location} does not support conditional writes: two processes could write one shard at once; "
                "use a store that supports If-None-Match, such as AWS S3, MinIO or R2, or a folder"
            )

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        with self._explained("read", name):
            try:
                data: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return data

    def read_many(self, names: list[str]) -> Iterator[bytes]:
        """The contents of files, in order.

        Raises:
            ShardError: a file is missing.
        """
        for start in range(0, len(names), _AT_ONCE):
            paths = [self._path(name) for name in names[start : start + _AT_ONCE]]
            with self._explained("read", names[start], missing="no such file"):
                found = self._files.cat(paths)
            yield from (found[path] for path in paths)

    def fetch(self, name: str, path: Path) -> bool:
        """Download a file, which appears under its path when it is complete. False if there is none."""
        data = self.read(name)
        if data is None:
            return False
        with atomic(path) as stream:
            stream.write(data)
        return True

    def create(self, name: str, data: bytes) -> bool:
        """Write a file, unless it exists. Returns whether this call wrote it; of several at once, one does."""
        with self._explained("write", name):
            try:
                self._files.pipe_file(self._path(name), data, mode="create")
            except FileExistsError:
                return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write a file, which replaces an older one at once."""
        with self._explained("write", name):
            self._files.pipe_file(self._path(name), data)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with self._explained("remove", name), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def listing(self, folder: str) -> dict[str, str]:
        """All files below a folder, also in folders within it: name relative to the folder to a text that changes when
        the file does."""
        start = self._path(folder)
        with self._explained("list", folder):
            found = self._files.find(start, detail=True)
        return {path[len(start) :].strip("/"): _stamp(info) for path, info in found.items()}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted."""
        with self._explained("list", folder):
            try:
                entries = self._files.ls(self._path(folder), detail=True, refresh=True)
            except FileNotFoundError:
                return []
        return sorted(entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "directory")

    def names(self, prefix: str) -> list[str]:
        """Names of the files in the prefix itself that begin with some text."""
        with self._explained("list", ""):
            found = self._files.glob(f"{self._root}/{prefix}*")
        return [path.rpartition("/")[2] for path in found]

    def age(self, name: str) -> float | None:
        """Seconds since a file was written; None if there is none."""
        with self._explained("read", name):
            try:
                info = self._files.info(self._path(name), refresh=True)
            except FileNotFoundError:
                return None
        written = info.get("LastModified") or info.get("last_modified") or info.get("updated") or info.get("created")
        written = written or info.get("uploaded_at")
        if isinstance(written, str):
            written = datetime.datetime.fromisoformat(written)
        return time.time() - written.timestamp() if written else 0.0

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextlib.contextmanager
    def _explained(self, verb: str, name: str, missing: str = "") -> Iterator[None]:
        """Turn errors of a store into errors that name the remedy."""
        if self._is_hub:
            # The client of the Hub keeps listings, whatever its options.
            self._files.dircache.clear()
        try:
            yield
        except FileNotFoundError as error:
            raise ShardError(f"cannot {verb} {self.location}: {missing or error}") from error
        except PermissionError as error:
            raise ShardError(
                f"cannot {verb} {self.location}/{name}: {_reason(error)}; check the credentials and their rights"
            ) from error
        except _errors() as error:
            address = "HF_ENDPOINT" if self._is_hub else "AWS_ENDPOINT_URL"
            raise ShardError(
                f"cannot {verb} {self.location}/{name}: {_reason(error)}; complete shards are kept: check the "
                f"connection, the credentials and {address}, then rerun the same command"
            ) from error


class StoreLocks:
    """Locks of a run in an object store. See ``storage.lock.LockFiles``.

    Args:
        store: the prefix of the run.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str, content: bytes) -> bool:
        """Create a file, unless it exists."""
        return self._store.create(name, content)

    def read(self, name: str) -> tuple[bytes, float] | None:
        """The content of a file, and the seconds since it was renewed."""
        content = self._store.read(name)
        seconds = None if content is None else self._store.age(name)
        return None if content is None or seconds is None else (content, seconds)

    def names(self) -> list[str]:
        """The names of all lock files."""
        return sorted(name for name in self._store.names(".lock"))

    def renew(self, name: str, content: bytes) -> None:
        """Set the seconds of a file to 0."""
        self._store.write(name, content)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        self._store.remove(name)


def _prepare_hub(location: str) -> None:
    """Refuse what is no folder of a bucket, and show no progress of each file."""
    from huggingface_hub.utils import disable_progress_bars

    if not location.startswith(BUCKETS) or len(location.removeprefix(BUCKETS).split("/")) < 3:
        raise ShardError(f"{location} names no folder of a bucket, expected {BUCKETS}NAMESPACE/NAME/runs/demo")
    disable_progress_bars()


def _check_token(location: str) -> None:
    from huggingface_hub import get_token

    if get_token() is None:
        raise ShardError(f"{location} needs a token that can write it: set HF_TOKEN, or run `hf auth login`")


def _errors() -> tuple[type[Exception], ...]:
    """What a store raises. Errors of botocore and httpx2 are no OSError, and each is imported for its store alone."""
    botocore, httpx = sys.modules.get("botocore.exceptions"), sys.modules.get("httpx2")
    others = [*([botocore.BotoCoreError] if botocore else []), *([httpx.HTTPError] if httpx else [])]
    return (OSError, ValueError, *others)


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _stamp(info: dict[str, Any]) -> str:
    changed = next(
        (info[name] for name in ("ETag", "etag", "md5Hash", "xet_hash", "mtime", "created") if info.get(name)), ""
    )
    return f"{changed}-{info.get('size')}"
