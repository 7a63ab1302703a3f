"""What publishing a folder would change: pure comparison of what stands here and what is published."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from x_instruction.builders.layout import README, released
from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.schema import DATA, VERSION
from x_instruction.cards.facts import LanguageSet
from x_instruction.errors import HubError
from x_instruction.hub.folder_check import Folder
from x_instruction.hub.remote import Remote, RemoteFile

Source = Path | bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change.

    Args:
        remote: what is published now.
        manifest: what is published then; so the card and its numbers.
        added, updated: path to what is sent.
        deleted: paths.
        unchanged: paths of the folder's own files that are published already.
    """

    remote: Remote
    manifest: Manifest
    added: dict[str, Source] = field(default_factory=dict)
    updated: dict[str, Source] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    @property
    def sent(self) -> dict[str, Source]:
        """Everything that is sent."""
        return self.added | self.updated

    @property
    def size(self) -> int:
        """How many things a commit would do."""
        return len(self.added) + len(self.updated) + len(self.deleted)


def merged(folder: Folder, remote: Remote) -> dict[str, LanguageSet]:
    """The languages that are published then: those of the folder in the place of older ones, new ones last.

    Raises:
        HubError: what is published has another layout.
    """
    if remote.manifest is None:
        return folder.sets
    kept = remote.manifest.sets()
    if remote.manifest.version != VERSION and kept.keys() - folder.sets.keys():
        raise HubError(
            f"what is published has the layout {remote.manifest.version} and the folder {VERSION}, which no reader "
            f"takes together: publish {', '.join(kept.keys() - folder.sets.keys())} again, too, or use another name"
        )
    return {tag: folder.sets.get(tag, one) for tag, one in kept.items()} | folder.sets


def plan(folder: Folder, remote: Remote, repo: str, replace_card: bool = False) -> Plan:
    """What publishing a folder would change.

    Args:
        folder: what is to be published.
        remote: what is published now.
        repo: id of the data set, for the card.
        replace_card: whether a card that was not written by publishing may be replaced.

    Raises:
        HubError: what is there could be lost or mixed up.
    """
    _check_card(remote, replace_card)
    sets = merged(folder, remote)
    _check_kept(folder, remote)
    # Who publishes part of a set does not name the whole.
    title = folder.manifest.pretty_name
    if remote.manifest is not None and sets.keys() != folder.sets.keys():
        title = remote.manifest.pretty_name
    texts, manifest = released(sets, title, repo)
    found = Plan(remote, manifest)
    for path, text in (texts | {MANIFEST: manifest.encoded()}).items():
        _sort(found, path, text, _git_digest(text), hashlib.sha256(text).hexdigest())
    for one in folder.sets.values():
        for path, sha in one.files.items():
            _sort(found, path, folder.path / path, sha)
    for tag, one in folder.sets.items():
        found.deleted.extend(sorted(path for path in remote.rows_of(tag) if path not in one.files))
    return found


def _sort(found: Plan, path: str, source: Source, *digests: str) -> None:
    held = found.remote.files.get(path)
    if held is None:
        found.added[path] = source
    elif _same(held, source, digests):
        found.unchanged.append(path)
    else:
        found.updated[path] = source


def _same(held: RemoteFile, source: Source, digests: tuple[str, ...]) -> bool:
    if len(held.digest) == 40 and isinstance(source, Path):
        # A repository may keep small Parquet files as regular ones.
        return held.size == source.stat().st_size and held.digest == _git_digest(source.read_bytes())
    return held.digest in digests


def _git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _check_card(remote: Remote, replace: bool) -> None:
    """Nothing that a person wrote is lost without a word."""
    wanted = remote.manifest.files.get(README) if remote.manifest else None
    if replace or remote.card in (None, wanted):
        return
    raise HubError(
        f"the {README} that is published was {'changed by hand' if remote.manifest else 'not written by publishing'}: "
        "put what you want to keep of it into the recipe or the corpus's rows, then pass --replace-card"
    )


def _check_kept(folder: Folder, remote: Remote) -> None:
    """The files of languages that stay are those that their manifest names."""
    known: Mapping[str, LanguageSet] = remote.manifest.sets() if remote.manifest else {}
    stays = {tag: one for tag, one in known.items() if tag not in folder.sets}
    wanted = {path: sha for one in stays.values() for path, sha in one.files.items()}
    own = tuple(f"{DATA}/{tag}/" for tag in folder.sets)
    held = {path for path in remote.files if path.startswith(f"{DATA}/") and not path.startswith(own)}
    if foreign := sorted(held - wanted.keys()):
        raise HubError(
            f"{foreign[0]} and {len(foreign) - 1} other files are published that no manifest names, and readers would "
            "take their rows for this set's: remove them there, or publish under another name"
        )
    for path, sha in wanted.items():
        there = remote.files.get(path)
        if there is None or (len(there.digest) == 64 and there.digest != sha):
            raise HubError(
                f"{path} is {'missing' if there is None else 'another file'} where it is published: "
                f"publish the language {path.split('/')[1]!r} again first"
            )
