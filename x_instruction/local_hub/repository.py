"""One repository: what its revisions hold, and new commits."""

from __future__ import annotations

import contextlib
import functools
import heapq
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from x_instruction.local_hub import attributes
from x_instruction.local_hub.lfs import LargeFiles, Pointer
from x_instruction.local_hub.names import is_oid
from x_instruction.local_hub.objects import FILE, FOLDER, Commit, Entry, Objects
from x_instruction.local_hub.refs import BRANCHES, MAIN, TAGS, Refs
from x_instruction.local_hub.refused import Refused, entry_not_found, revision_not_found
from x_instruction.storage.atomic import TempDir

# Path to entry, of files alone.
Files = dict[str, Entry]
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = false\n\tbare = true\n[gc]\n\tauto = 0\n"


class Repository:
    """A bare git repository with its large files. Writers hold ``lock``."""

    def __init__(self, folder: Path, scratch: TempDir) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.objects = Objects(folder / "objects", scratch)
        self.refs = Refs(folder, scratch)
        self.large = LargeFiles(folder / "lfs" / "objects", scratch)
        self.files_of_tree = functools.lru_cache(maxsize=8)(self._files_of_tree)

    @staticmethod
    def begin(folder: Path, scratch: TempDir, author: str) -> None:
        """Lay a new repository into an empty folder, with a first commit."""
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (folder / name).mkdir(parents=True)
        scratch.write(folder / "HEAD", b"ref: refs/heads/main\n")
        scratch.write(folder / "config", _CONFIG.encode())
        repository = Repository(folder, scratch)
        blob = repository.objects.write("blob", attributes.initial().encode())
        repository.write(MAIN, {attributes.NAME: Entry(FILE, blob)}, (), author, "initial commit")

    def find(self, revision: str) -> Commit:
        """The commit of a branch, a tag, a ref or a commit's own id, of which 7 characters are enough.

        Raises:
            Refused: 404, there is none.
        """
        names = (revision,) if revision.startswith("refs/") else (f"{BRANCHES}{revision}", f"{TAGS}{revision}")
        oid = revision if is_oid(revision) else None
        for name in names:
            if oid is None and ".." not in name.split("/") and "\0" not in name:
                oid = self.refs.get(name)
        oid = oid or self.objects.whole_oid(revision)
        if oid is None:
            raise revision_not_found(revision)
        try:
            return self.objects.peel(oid)
        except KeyError:
            raise revision_not_found(revision) from None

    def files(self, commit: Commit | None) -> Files:
        """Every file of a commit; not to be changed, it is shared."""
        return self.files_of_tree(commit.tree) if commit else {}

    def _files_of_tree(self, tree: str) -> Files:
        return {path: entry for path, entry in self.walk(tree) if entry.mode != FOLDER}

    def walk(self, tree: str, below: str = "", recursive: bool = True) -> Iterator[tuple[str, Entry]]:
        """Files and folders of a tree, a folder before what is in it."""
        for name, entry in self.objects.tree(tree).items():
            yield below + name, entry
            if entry.mode == FOLDER and recursive:
                yield from self.walk(entry.oid, f"{below}{name}/")

    def entry(self, commit: Commit, path: str) -> Entry | None:
        """The entry at a path, file or folder, or None."""
        found = Entry(FOLDER, commit.tree)
        for part in path.split("/") if path else ():
            below = self.objects.tree(found.oid).get(part) if found.mode == FOLDER else None
            if below is None:
                return None
            found = below
        return found

    def file(self, commit: Commit, path: str) -> Entry:
        """The file at a path.

        Raises:
            Refused: 404, there is no file.
        """
        entry = self.entry(commit, path)
        if entry is None or entry.mode == FOLDER:
            raise entry_not_found(path, commit.oid)
        return entry

    def text(self, commit: Commit, path: str) -> str | None:
        """A small file's text, or None when there is none."""
        entry = self.entry(commit, path)
        if entry is None or entry.mode == FOLDER or self.objects.size(entry.oid).pointer:
            return None
        return self.objects.blob(entry.oid).decode("utf-8", "replace")

    def commit(
        self,
        ref: str,
        author: str,
        message: str,
        change: Callable[[Files], Iterable[str]],
        parent: str | None = None,
        target: str | None = None,
    ) -> str:
        """Make a commit on a ref: everything of it is on the disk before the ref names it.

        Args:
            ref: the full name of a branch or pull request.
            author: name of the account.
            message: title, and a body after an empty line.
            change: changes the files in place, and gives the paths of large files that it added.
            parent: the commit that the ref must name, else 412.
            target: the ref that gets the commit when it is not ``ref`` itself.
        """
        with self.lock:
            head = self.find(ref)
            if parent is not None and parent != head.oid:
                text = "The branch was updated since you opened this page. Please refresh and try again."
                raise Refused(412, f"{text} {ref} is {head.oid}")
            files = dict(self.files(head))
            added = [path for path in change(files) if path in files]
            self._track(files, added)
            if target is None and files == self.files(head):
                return head.oid
            return self.write(target or ref, files, (head.oid,), author, message)

    def write(self, ref: str, files: Files, parents: tuple[str, ...], author: str, message: str) -> str:
        """Write trees and commit, then let the ref name it."""
        tree = self._write_trees(files)
        oid = self.objects.write_commit(tree, parents, author, message)
        self.objects.sync()
        self.refs.set(ref, oid)
        return oid

    def pointer(self, oid: str, size: int | None) -> Entry:
        """The entry of a large file that was uploaded before.

        Raises:
            Refused: 400, it was not, or has another size.
        """
        stored = self.large.size(oid)
        if stored is None or size not in (None, stored):
            raise Refused(400, f"the large file {oid} was not uploaded, or has another size: upload it, then commit")
        return Entry(FILE, self.objects.write("blob", Pointer(oid, stored).text()))

    def _track(self, files: Files, added: list[str]) -> None:
        """Name new large files in .gitattributes where no pattern does, so that git-lfs knows them after a clone."""
        known = files.get(attributes.NAME)
        text = self.objects.blob(known.oid).decode("utf-8", "replace") if known else ""
        tracked = attributes.Attributes(text).with_paths(added)
        if tracked != text:
            files[attributes.NAME] = Entry(FILE, self.objects.write("blob", tracked.encode()))

    def _write_trees(self, files: Files) -> str:
        root: dict[str, object] = {}
        for path, entry in files.items():
            *above, name = path.split("/")
            at = root
            for part in above:
                inner = at.setdefault(part, {})
                if not isinstance(inner, dict):
                    raise Refused(400, f"{path!r}: {part!r} is a file, so there cannot be a file below it")
                at = inner
            if name in at:
                raise Refused(400, f"{path!r} is a folder, so it cannot be a file as well")
            at[name] = entry
        return self._write_tree(root)

    def _write_tree(self, nested: dict[str, object]) -> str:
        entries = {}
        for name, inner in nested.items():
            if isinstance(inner, Entry):
                entries[name] = inner
            elif isinstance(inner, dict):
                entries[name] = Entry(FOLDER, self._write_tree(inner))
        return self.objects.write_tree(entries)

    def history(self, commit: Commit) -> Iterator[Commit]:
        """A commit and those before it, the newest first."""
        waiting, seen = [(-commit.time, 0, commit)], {commit.oid}
        while waiting:
            _, order, found = heapq.heappop(waiting)
            yield found
            for parent in found.parents:
                if parent not in seen:
                    seen.add(parent)
                    before = self.objects.commit(parent)
                    heapq.heappush(waiting, (-before.time, order + len(seen), before))

    def last_changes(self, commit: Commit, paths: Iterable[str]) -> dict[str, Commit]:
        """For each path the newest commit of the first parents' line that changed it."""
        open_paths, found = {path: self.entry(commit, path) for path in paths}, {}
        while open_paths:
            before = self.objects.commit(commit.parents[0]) if commit.parents else None
            for path, entry in list(open_paths.items()):
                if before is None or self.entry(before, path) != entry:
                    found[path] = commit
                    del open_paths[path]
            if before is None:
                break
            commit = before
        return found

    def common(self, one: Commit, other: Commit) -> Commit | None:
        """The newest commit that both have behind them."""
        behind = {found.oid for found in self.history(one)}
        return next((found for found in self.history(other) if found.oid in behind), None)

    def used(self) -> int:
        """Bytes on the disk."""
        total = 0
        # Unlike rglob, it passes over a folder that is deleted meanwhile.
        for folder, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                with contextlib.suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total
