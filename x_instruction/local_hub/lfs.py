"""Large files: pointers in the tree, content beside it in the layout of git-lfs."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from x_instruction.local_hub.refused import Refused
from x_instruction.storage.atomic import TempDir, rename_into_place

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n")


class Pointer(NamedTuple):
    """The pointer that the tree holds for a large file."""

    oid: str
    size: int

    def text(self) -> bytes:
        """The pointer file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n".encode()


def read_pointer(data: bytes) -> Pointer | None:
    """The pointer that these bytes are, or None."""
    match = _POINTER.fullmatch(data)
    return Pointer(match[1].decode(), int(match[2])) if match else None


class LargeFiles:
    """The large files of one repository."""

    def __init__(self, folder: Path, scratch: TempDir) -> None:
        self._folder = folder
        self._scratch = scratch

    def path(self, oid: str) -> Path:
        """The path of a large file."""
        return self._folder / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int | None:
        """Bytes of a large file, or None when it is not there."""
        try:
            return os.lstat(self.path(oid)).st_size
        except FileNotFoundError:
            return None

    def receive(self, oid: str) -> Receiving:
        """Begin to receive a large file."""
        return Receiving(self._scratch, self.path(oid), oid)


class Receiving:
    """A large file on its way in: written, hashed, and placed only when its bytes are those of its name."""

    def __init__(self, scratch: TempDir, path: Path, oid: str) -> None:
        self._context = scratch.file()
        self._path = path
        self._oid = oid
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Receiving:
        self._stream = self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._stream.write(data)
        self._hash.update(data)
        self.size += len(data)

    def finish(self, size: int | None = None) -> None:
        """Give the file its name.

        Raises:
            Refused: 400, the bytes are others than were announced.
        """
        if self._hash.hexdigest() != self._oid or size not in (None, self.size):
            raise Refused(400, f"the bytes received are not those of {self._oid}: send them again")
        rename_into_place(self._stream, self._path)
