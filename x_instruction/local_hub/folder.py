"""The folder that is served: which repositories it has, and what is known of each beside its content."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from x_instruction.errors import RecipeError
from x_instruction.local_hub.names import PLURALS, RepoId, is_name
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.repository import Repository
from x_instruction.storage.atomic import TempDir, sync_folder


@dataclass(frozen=True, slots=True)
class Settings:
    """What is known of a repository beside its content.

    Args:
        uid: stays when the repository moves, and never comes again.
        created_at: ISO 8601.
        private: only seen with a token.
        gated: ``auto`` or ``manual`` when files are only given to who was let in.
        access: account to ``{"status", "timestamp", "requestId"}``.
        sdk: of a Space.
    """

    uid: str
    created_at: str
    private: bool = False
    gated: str | bool = False
    access: dict[str, dict[str, str]] = field(default_factory=dict)
    sdk: str | None = None


def now() -> str:
    """The time as the Hub writes it."""
    return iso(datetime.now(UTC).timestamp())


def iso(seconds: float) -> str:
    """A time as the Hub writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Folder:
    """The served folder. One server at a time has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Held as long as the folder is served, by the system: one machine serves it.
        self._held = contextlib.ExitStack()
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        self._held.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            raise RecipeError(f"{root} is served already: stop the other server, or name another --folder") from None
        self.scratch = TempDir(root / "tmp")
        self._lock = threading.RLock()
        self._open: dict[RepoId, Repository] = {}

    def path(self, repo: RepoId) -> Path:
        """The folder of a repository."""
        return self.root / repo.plural / repo.namespace / f"{repo.name}.git"

    def exists(self, repo: RepoId) -> bool:
        """Whether there is such a repository; a symbolic link is none."""
        path = self.path(repo)
        linked = any(part.is_symlink() for part in (path, path.parent, path.parent.parent))
        return not linked and (path / "hub.json").is_file()

    def current(self, repo: RepoId) -> RepoId:
        """The name that a repository has now. It is found in any case, and under names that it had before."""
        if self.exists(repo):
            return repo
        if (same := self._any_case(repo)) is not None:
            return same
        moved = self._moved().get(f"{repo.plural}/{repo}".lower())
        return self.current(RepoId(repo.kind, *moved.split("/"))) if moved else repo

    def _any_case(self, repo: RepoId) -> RepoId | None:
        lower = str(repo).lower()
        # Only names that are as long: a listing of all would read every repository.
        found = [path for path in (self.root / repo.plural).glob("*/*.git") if len(path.name) == len(repo.name) + 4]
        ids = [RepoId(repo.kind, path.parent.name, path.name.removesuffix(".git")) for path in found]
        return next((one for one in ids if str(one).lower() == lower and self.exists(one)), None)

    def _moved(self) -> dict[str, str]:
        """Old names to new ones."""
        try:
            table: dict[str, str] = json.loads((self.root / "moved.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return table

    def repository(self, repo: RepoId) -> Repository:
        """A repository, the same object each time.

        Raises:
            Refused: 404.
        """
        with self._lock:
            if not self.exists(repo):
                raise Refused(404, "Repository not found", "RepoNotFound")
            if repo not in self._open:
                self._open[repo] = Repository(self.path(repo), self.scratch)
            return self._open[repo]

    def list(self, kind: str) -> Iterator[RepoId]:
        """Every repository of a type, by name."""
        for path in sorted((self.root / PLURALS[kind]).glob("*/*.git")):
            repo = RepoId(kind, path.parent.name, path.name.removesuffix(".git"))
            if is_name(repo.namespace) and is_name(repo.name) and self.exists(repo):
                yield repo

    def create(self, repo: RepoId, author: str, private: bool, sdk: str | None) -> None:
        """Make a repository; it appears whole.

        Raises:
            Refused: 409, it is there.
        """
        with self._lock:
            if (same := repo if self.exists(repo) else self._any_case(repo)) is not None:
                raise Refused(409, "You already created this repo", details={"name": str(same)})
            folder = self.scratch.folder_for("new")
            Repository.begin(folder, self.scratch, author)
            settings = Settings(secrets.token_hex(12), now(), private, sdk=sdk)
            self.scratch.write_json(folder / "hub.json", asdict(settings))
            self._place(folder, self.path(repo))

    def move(self, old: RepoId, new: RepoId) -> None:
        """Rename a repository.

        Raises:
            Refused: 404 or 409.
        """
        # A repository's lock comes before the folder's, always.
        with self.repository(old).lock, self._lock:
            self._still_there(old)
            if new == old or self._any_case(new) not in (None, old):
                raise Refused(409, f"A {new.kind} repository called {new} already exists")
            moved = {name: there for name, there in self._moved().items() if name != f"{new.plural}/{new}".lower()}
            self.scratch.write_json(self.root / "moved.json", moved | {f"{old.plural}/{old}".lower(): str(new)})
            self._place(self.path(old), self.path(new))
            self._open.pop(old, None)

    def delete(self, repo: RepoId) -> None:
        """Remove a repository; it vanishes whole.

        Raises:
            Refused: 404.
        """
        with self.repository(repo).lock, self._lock:
            self._still_there(repo)
            gone = self.scratch.folder_for("gone")
            self._place(self.path(repo), gone / "repository")
            self._open.pop(repo, None)
        shutil.rmtree(gone)

    def _still_there(self, repo: RepoId) -> None:
        # Another request may have moved or deleted it while this one waited for its lock.
        if not self.exists(repo):
            raise Refused(404, "Repository not found", "RepoNotFound")

    def _place(self, old: Path, new: Path) -> None:
        new.parent.mkdir(parents=True, exist_ok=True)
        if new.exists():
            # What a late upload left of a repository that was deleted.
            os.rename(new, self.scratch.folder_for("left") / new.name)
        os.rename(old, new)
        sync_folder(new.parent)
        with contextlib.suppress(FileNotFoundError):
            sync_folder(old.parent)

    def settings(self, repo: RepoId) -> Settings:
        """What is known of a repository beside its content.

        Raises:
            Refused: 404.
        """
        try:
            table: dict[str, Any] = json.loads((self.path(repo) / "hub.json").read_text("utf-8"))
        except FileNotFoundError:
            raise Refused(404, "Repository not found", "RepoNotFound") from None
        return Settings(**table)

    def change(self, repo: RepoId, **changes: Any) -> Settings:
        """Change some of the settings, atomically. Who depends on the old ones holds the repository's lock."""
        with self.repository(repo).lock:
            settings = replace(self.settings(repo), **changes)
            self.scratch.write_json(self.path(repo) / "hub.json", asdict(settings))
            return settings
