"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


class Scratch:
    """A folder for what is not whole yet, on the file system of what it becomes. Emptied when it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)

    @contextlib.contextmanager
    def file(self) -> Iterator[IO[bytes]]:
        """A temporary file, removed at the end unless it was placed."""
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
            place(stream, path, sync)

    def write_json(self, path: Path, value: Any) -> None:
        """Write a JSON file under its name, atomically."""
        self.write(path, json.dumps(value, ensure_ascii=False, indent=1).encode())


def place(stream: IO[bytes], path: Path, sync: bool = True) -> None:
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
