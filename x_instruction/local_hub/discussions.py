"""Discussions and pull requests of one repository, kept in a file beside its git objects."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from x_instruction.local_hub.folder import now
from x_instruction.local_hub.refs import MAIN, PULLS
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.repository import Repository
from x_instruction.storage.atomic import TempDir

Discussion = dict[str, Any]
MAX_TEXT = 65_536


class Discussions:
    """What people wrote to each other about one repository. Writers hold the repository's lock."""

    def __init__(self, repository: Repository, scratch: TempDir) -> None:
        self._repository = repository
        self._path: Path = repository.folder / "discussions.json"
        self._scratch = scratch

    def all(self) -> list[Discussion]:
        """Every discussion, the oldest first."""
        try:
            found: list[Discussion] = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return []
        return found

    def get(self, num: int) -> Discussion:
        """One discussion.

        Raises:
            Refused: 404.
        """
        for discussion in self.all():
            if discussion["num"] == num:
                return discussion
        raise Refused(404, f"there is no discussion {num}")

    def put(self, discussion: Discussion) -> None:
        """Keep a discussion, new or changed."""
        others = [one for one in self.all() if one["num"] != discussion["num"]]
        self._scratch.write_json(self._path, sorted([*others, discussion], key=lambda one: int(one["num"])))

    def next_number(self) -> int:
        """The number of the next discussion: no ref and no discussion has it."""
        refs = [int(ref.removeprefix(PULLS)) for ref, _ in self._repository.refs.all(PULLS)]
        return max([0, *refs, *(int(one["num"]) for one in self.all())]) + 1

    def open(self, author: str, title: str, text: str, pull: bool, status: str) -> Discussion:
        """Begin a discussion, or a pull request whose ref begins where the main branch is."""
        num = self.next_number()
        discussion: Discussion = {
            "num": num,
            "title": _bounded(title) or "Untitled",
            "author": author,
            "createdAt": now(),
            "status": status,
            "isPullRequest": pull,
            "base": None,
            "mergeCommitId": None,
            "events": [],
        }
        if text:
            discussion["events"].append(comment(author, text))
        if pull:
            discussion["base"] = self._repository.find(MAIN).oid
        return discussion


def event(kind: str, author: str, **data: Any) -> dict[str, Any]:
    """Something that happened in a discussion."""
    return {
        "id": secrets.token_hex(12),
        "type": kind,
        "createdAt": now(),
        "author": {"name": author},
        "data": data,
    }


def comment(author: str, text: str) -> dict[str, Any]:
    """A comment."""
    return event("comment", author, edited=False, hidden=False, latest={"raw": _bounded(text)})


def committed(author: str, oid: str, subject: str) -> dict[str, Any]:
    """A commit on a pull request."""
    return event("commit", author, oid=oid, subject=subject)


def _bounded(text: object) -> str:
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise Refused(400, f"a text has at most {MAX_TEXT} characters")
    return text.strip()
