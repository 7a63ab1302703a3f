"""Git objects, written loose: blobs, trees, commits and tags."""

from __future__ import annotations

import functools
import hashlib
import re
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from x_instruction.local_hub.lfs import Pointer, read_pointer
from x_instruction.local_hub.names import is_oid
from x_instruction.local_hub.refused import Refused
from x_instruction.storage.atomic import TempDir, open_plain, sync_folder

FILE = "100644"
FOLDER = "40000"
_START = re.compile(r"[0-9a-f]{7,39}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Entry(NamedTuple):
    """One line of a tree."""

    mode: str
    oid: str


class Size(NamedTuple):
    """The size of a blob, read without its content; a pointer gives the size of its large file."""

    bytes: int
    pointer: Pointer | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, read."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: str
    time: int
    message: str

    @property
    def title(self) -> str:
        """The first line of the message."""
        return self.message.split("\n", 1)[0]

    @property
    def body(self) -> str:
        """What follows the first line."""
        return self.message.partition("\n")[2].strip()


class Objects:
    """The objects of one repository."""

    def __init__(self, folder: Path, scratch: TempDir) -> None:
        self._folder = folder
        self._scratch = scratch
        self._unsynced: set[Path] = set()
        self.tree = functools.lru_cache(maxsize=4096)(self._tree)
        self.size = functools.lru_cache(maxsize=65_536)(self._size)
        self.commit = functools.lru_cache(maxsize=4096)(self._commit)

    def path(self, oid: str) -> Path:
        """The path of an object."""
        return self._folder / oid[:2] / oid[2:]

    def write(self, kind: str, data: bytes) -> str:
        """Write an object; its name is on the disk only after ``sync``."""
        whole = f"{kind} {len(data)}".encode() + b"\0" + data
        oid = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        path = self.path(oid)
        if not path.exists():
            self._scratch.write(path, zlib.compress(whole, 1), sync=False)
        self._unsynced.add(path.parent)
        return oid

    def sync(self) -> None:
        """See to it that what was written is on the disk: before a ref names it."""
        folders, self._unsynced = self._unsynced, set()
        for folder in folders:
            sync_folder(folder)
        if folders:
            sync_folder(self._folder)

    def read(self, oid: str) -> tuple[str, bytes]:
        """Kind and content of an object.

        Raises:
            KeyError: there is no such object.
        """
        try:
            with open_plain(self.path(oid)) as stream:
                head, _, data = zlib.decompress(stream.read()).partition(b"\0")
        except FileNotFoundError:
            raise KeyError(oid) from None
        return head.split(b" ")[0].decode(), data

    def whole_oid(self, start: str) -> str | None:
        """The id of the only commit or tag whose id begins so, or None."""
        if not _START.fullmatch(start):
            return None
        names = self.path(start).parent.glob(f"{start[2:]}*")
        oids = [start[:2] + path.name for path in names]
        found = [oid for oid in oids if is_oid(oid) and self.read(oid)[0] in ("commit", "tag")]
        return found[0] if len(found) == 1 else None

    def blob(self, oid: str) -> bytes:
        """The content of a blob."""
        return self.read(oid)[1]

    def _size(self, oid: str) -> Size:
        with open_plain(self.path(oid)) as stream:
            start = zlib.decompressobj().decompress(stream.read(2048), 1024)
        head, _, data = start.partition(b"\0")
        size = int(head.split(b" ")[1])
        return Size(size, read_pointer(data) if size == len(data) else None)

    def _tree(self, oid: str) -> dict[str, Entry]:
        """Name to entry; not to be changed, it is shared."""
        data = self.read(oid)[1]
        found, at = {}, 0
        while at < len(data):
            space, end = data.index(b" ", at), data.index(b"\0", at)
            found[data[space + 1 : end].decode()] = Entry(data[at:space].decode(), data[end + 1 : end + 21].hex())
            at = end + 21
        return found

    def write_tree(self, entries: dict[str, Entry]) -> str:
        """Write a tree. Git sorts folders as if their name ended with a slash."""
        order = sorted(entries.items(), key=lambda item: (item[0] + "/" * (item[1].mode == FOLDER)).encode())
        return self.write(
            "tree", b"".join(f"{e.mode} {name}".encode() + b"\0" + bytes.fromhex(e.oid) for name, e in order)
        )

    def _commit(self, oid: str) -> Commit:
        kind, data = self.read(oid)
        if kind != "commit":
            raise KeyError(oid)
        head, _, message = data.decode("utf-8", "replace").partition("\n\n")
        lines = [line.split(" ", 1) for line in head.split("\n") if not line.startswith(" ")]
        author = next(value for key, value in lines if key == "author")
        name, stamp = author.rsplit(" <", 1)[0], author.rsplit(" ", 2)[-2]
        parents = tuple(value for key, value in lines if key == "parent")
        tree = next(value for key, value in lines if key == "tree")
        return Commit(oid, tree, parents, name, int(stamp), message.strip())

    def write_commit(self, tree: str, parents: tuple[str, ...], author: str, message: str) -> str:
        """Write a commit of now."""
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), *_person(author)]
        return self.write("commit", "\n".join([*lines, "", _message(message)]).encode())

    def write_tag(self, commit: str, name: str, author: str, message: str) -> str:
        """Write an annotated tag of now."""
        tagger = _person(author)[1].replace("committer", "tagger", 1)
        lines = [f"object {commit}", "type commit", f"tag {name}", tagger, "", _message(message)]
        return self.write("tag", "\n".join(lines).encode())

    def peel(self, oid: str) -> Commit:
        """The commit that an object is, or that a tag points to.

        Raises:
            KeyError: neither.
        """
        kind, data = self.read(oid)
        return self.commit(data[len("object ") :][:40].decode() if kind == "tag" else oid)


def _person(author: str) -> list[str]:
    stamp = f"{author} <{author}@localhost> {int(time.time())} +0000"
    return [f"author {stamp}", f"committer {stamp}"]


def _message(text: str) -> str:
    if len(text) > 65_536:
        raise Refused(400, "a message has at most 65,536 characters")
    return _CONTROL.sub(" ", text.replace("\r\n", "\n")).strip() + "\n"
