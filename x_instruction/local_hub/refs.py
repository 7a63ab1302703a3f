"""Branches, tags and pull requests: files that hold the id of a commit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from x_instruction.local_hub.refused import Refused
from x_instruction.storage.atomic import TempDir, open_plain, sync_folder

BRANCHES = "refs/heads/"
TAGS = "refs/tags/"
PULLS = "refs/pr/"
MAIN = "refs/heads/main"


class Refs:
    """The refs of one repository."""

    def __init__(self, folder: Path, scratch: TempDir) -> None:
        self._folder = folder
        self._scratch = scratch

    def get(self, ref: str) -> str | None:
        """The object that a ref names, or None."""
        try:
            with open_plain(self._folder / ref) as stream:
                return stream.read(64).decode().strip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise

    def set(self, ref: str, oid: str) -> None:
        """Let a ref name an object, atomically.

        Raises:
            Refused: 409, a ref's name is the beginning of another's.
        """
        path = self._folder / ref
        try:
            if path.is_dir():
                _remove_empty(path)
            self._scratch.write(path, f"{oid}\n".encode())
        except (NotADirectoryError, FileExistsError, IsADirectoryError):
            raise Refused(409, f"{ref} cannot stand beside a branch or tag whose name is part of it") from None

    def delete(self, ref: str) -> None:
        """Remove a ref."""
        path = self._folder / ref
        path.unlink()
        sync_folder(path.parent)

    def all(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Refs below a prefix such as ``refs/heads/`` and what they name, sorted."""
        root = self._folder / prefix
        found = []
        for folder, _, names in os.walk(root):
            found += [(Path(folder) / name).relative_to(self._folder).as_posix() for name in names]
        for ref in sorted(found):
            oid = self.get(ref)
            if oid is not None:
                yield ref, oid


def _remove_empty(folder: Path) -> None:
    for inner, _, names in os.walk(folder, topdown=False):
        if not names and not any(os.scandir(inner)):
            os.rmdir(inner)
