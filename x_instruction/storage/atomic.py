"""Files that appear complete or not at all: temporary file, sync, rename, sync of the folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from x_instruction.errors import ShardError
from x_instruction.processes import this_process

# Seconds without a write after which no process needs a temporary file.
ABANDONED = 24 * 3600.0
_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.tmp")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears under its name only when it is complete.

    The bytes go to a temporary file beside it, ``.<name>.<place>-<process>-<random>.tmp``, which is synced and renamed
    at the end: processes on several machines may share the folder. If the block raises, the temporary file is removed
    and an older file of the name stays as it is.

    Raises:
        ShardError: the disk is full, or the folder cannot be written.
    """
    temporary = temporary_for(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            yield stream
            rename_into_place(stream, path)
    except OSError as error:
        raise ShardError(
            f"cannot write {path}: {error.strerror or error}; complete files are kept: free some space or change the "
            "permissions, then rerun the same command"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_for(path: Path) -> Path:
    """A new name beside a file, which ``sweep`` knows as that of a temporary file of this process."""
    own = this_process()
    return path.with_name(f".{path.name}.{own.place}-{own.number}-{secrets.token_hex(4)}.tmp")


def sweep(files: Iterable[Path]) -> None:
    """Remove temporary files that ``atomic`` left when its process was killed.

    Files of other machines stay, unless nothing has written to them for ``ABANDONED`` seconds.

    Args:
        files: paths that end with ``.tmp``; others of them are left alone.
    """
    here = this_process()
    for path in files:
        found = _TEMPORARY.fullmatch(path.name)
        with contextlib.suppress(FileNotFoundError):
            ended = found and replace(here, place=found[1], number=int(found[2]), started="").has_ended()
            if ended or time.time() - path.stat().st_mtime > ABANDONED:
                # A model that was being downloaded is a folder.
                shutil.rmtree(path) if path.is_dir() else path.unlink()


class TempDir:
    """A folder for temporary files, on the same file system as their targets. It is emptied when it is opened."""

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
            path: the target; its folder is created.
            data: the content.
            sync: also sync the folder. Set it to False to write many files, and sync their folders once at the end.
        """
        with self.file() as stream:
            stream.write(data)
            rename_into_place(stream, path, sync)

    def write_json(self, path: Path, value: Any) -> None:
        """Write a JSON file under its name, atomically."""
        self.write(path, json.dumps(value, ensure_ascii=False, indent=1).encode())


def rename_into_place(stream: IO[bytes], path: Path, sync: bool = True) -> None:
    """Sync a temporary file and rename it to its target."""
    stream.flush()
    os.fsync(stream.fileno())
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(stream.name, path)
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, so that a rename survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_plain(path: Path) -> IO[bytes]:
    """Open a file for reading, unless it is a symbolic link.

    Raises:
        OSError: the file is missing, or a symbolic link.
    """
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def regular_text(path: Path) -> str:
    """The text of a file that a recipe names. Devices and pipes have no end, or wait for one.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.read_text("utf-8")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
