"""Collections: named lists of repositories, kept in one file."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from x_instruction.local_hub.folder import now
from x_instruction.local_hub.refused import Refused
from x_instruction.storage.atomic import TempDir

Collection = dict[str, Any]
CHANGEABLE = ("title", "description", "private", "position", "theme")
ITEM_TYPES = ("model", "dataset", "space", "paper", "collection", "bucket")


def _words(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "collection"


def _current(known: dict[str, Collection], slug: str) -> str:
    """The slug of now, which has the same namespace and end.

    Raises:
        Refused: 404.
    """
    namespace, end = slug.partition("/")[0], slug.rpartition("-")[2]
    for name in known:
        if name == slug or (name.startswith(f"{namespace}/") and name.endswith(f"-{end}")):
            return name
    raise Refused(404, f"there is no collection {slug}")


class Collections:
    """Every collection of the folder."""

    def __init__(self, path: Path, scratch: TempDir) -> None:
        self._path = path
        self._scratch = scratch
        self._lock = threading.Lock()

    def all(self) -> dict[str, Collection]:
        """Slug to collection, in the order of their making."""
        try:
            found: dict[str, Collection] = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def get(self, slug: str) -> Collection:
        """One collection.

        Raises:
            Refused: 404.
        """
        known = self.all()
        return known[_current(known, slug)]

    def create(self, namespace: str, title: str, description: str | None, private: bool) -> Collection:
        """Make a collection.

        Raises:
            Refused: 409, the namespace has one of this title; the answer names it.
        """
        with self._lock:
            known = self.all()
            for slug, one in known.items():
                if one["owner"]["name"] == namespace and one["title"] == title:
                    raise Refused(409, f"the collection {slug} has this title", details={"slug": slug})
            slug = f"{namespace}/{_words(title)}-{secrets.token_hex(12)}"
            known[slug] = {
                "slug": slug,
                "title": title,
                "description": description,
                "owner": {"name": namespace, "type": "org", "fullname": namespace},
                "items": [],
                "lastUpdated": now(),
                "position": 0,
                "private": private,
                "theme": "orange",
                "upvotes": 0,
            }
            self._scratch.write_json(self._path, known)
            return known[slug]

    def change(self, slug: str, edit: Callable[[Collection], None]) -> Collection:
        """Change a collection in place.

        Raises:
            Refused: 404.
        """
        with self._lock:
            known = self.all()
            slug = _current(known, slug)
            edit(known[slug])
            changed = known[slug]
            for number, item in enumerate(changed["items"]):
                item["position"] = number
            changed["lastUpdated"] = now()
            # The words of a slug follow the title, as on the Hub; its end stays, and is found under any words.
            changed["slug"] = f"{changed['owner']['name']}/{_words(changed['title'])}-{slug.rpartition('-')[2]}"
            known = {one["slug"]: one for one in known.values()}
            self._scratch.write_json(self._path, known)
            return changed

    def delete(self, slug: str) -> None:
        """Remove a collection.

        Raises:
            Refused: 404.
        """
        with self._lock:
            known = self.all()
            del known[_current(known, slug)]
            self._scratch.write_json(self._path, known)


def item_of(collection: Collection, item_id: str) -> dict[str, Any]:
    """An item by its own id.

    Raises:
        Refused: 404.
    """
    for item in collection["items"]:
        if item["_id"] == item_id:
            found: dict[str, Any] = item
            return found
    raise Refused(404, f"the collection has no item {item_id}")


def add_item(collection: Collection, kind: object, repo: object, note: object) -> None:
    """Append an item.

    Raises:
        Refused: 400, not an item; 409, it is there.
    """
    if kind not in ITEM_TYPES or not isinstance(repo, str) or not isinstance(note, str | None):
        raise Refused(400, "an item has a type, an id, and a note if any")
    if any((item["type"], item["id"]) == (kind, repo) for item in collection["items"]):
        raise Refused(409, f"{repo} is in the collection already")
    item: dict[str, Any] = {"_id": secrets.token_hex(12), "id": repo, "type": kind, "position": 0}
    collection["items"].append(item | ({"note": {"text": note}} if note else {}))
