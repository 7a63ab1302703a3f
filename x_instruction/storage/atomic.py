"""Files that appear complete or not at all: temporary name, sync, rename, sync of the folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from x_instruction.errors import ShardError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when whole: temporary name, sync, rename, sync of the folder.

    Raises:
        ShardError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            yield stream
            rename_into_place(stream, path)
    except OSError as error:
        raise ShardError(
            f"cannot write {path}: {error.strerror or error}; nothing that was complete is lost, "
            "make room or permission and run the same command again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


class TempDir:
    """A folder for what is not whole yet, on the file system of what it becomes. Emptied when it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)

    @contextlib.contextmanager
    def file(self) -> Iterator[IO[bytes]]:
        """A temporary file, removed at the end unless it was renamed."""
        handle, name = tempfile.mkstemp(dir=self.folder)
        os.close(handle)
        try:
            with open(name, "wb") as stream:
                yield stream
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def folder_for(self, prefix: str) -> Path:
        """A new temporary folder."""
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.folder))

    def write(self, path: Path, data: bytes, sync: bool = True) -> None:
        """Write a file under its name, atomically.

        Args:
            path: where it shall stand; its folder is made.
            data: what it holds.
            sync: whether the folder is synced, too; who writes many files syncs their folders once.
        """
        with self.file() as stream:
            stream.write(data)
            rename_into_place(stream, path, sync)

    def write_json(self, path: Path, value: Any) -> None:
        """Write a JSON file under its name, atomically."""
        self.write(path, json.dumps(value, ensure_ascii=False, indent=1).encode())


def rename_into_place(stream: IO[bytes], path: Path, sync: bool = True) -> None:
    """Give a temporary file its name, once its bytes are on the disk."""
    stream.flush()
    os.fsync(stream.fileno())
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(stream.name, path)
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """See to it that the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_plain(path: Path) -> IO[bytes]:
    """Open a file that is no symbolic link.

    Raises:
        OSError: it is missing, or it is a link.
    """
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
