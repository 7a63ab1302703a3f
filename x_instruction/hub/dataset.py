"""Publishing a data set: what a folder that ``build`` wrote changes beside the languages that are published already."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from x_instruction.builders.layout import README, REPORT, texts_and_manifest
from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.schema import DATA, VERSION
from x_instruction.cards.facts import LanguageSet
from x_instruction.errors import HubError
from x_instruction.hub import dataset_readback
from x_instruction.hub.client import RepoTarget, RepoType
from x_instruction.hub.dataset_folder import Folder, check_folder
from x_instruction.hub.plan import Changes, Source, compare_files, source_size
from x_instruction.hub.remote import Remote, fetch, look

# Languages that the title of a commit names.
TITLE_LANGUAGES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """What only data sets have.

    Args:
        replace_card: Whether a card that a person changed may be replaced.
    """

    repo_type: ClassVar[RepoType] = "dataset"
    replace_card: bool = False

    def check(self, folder: Path, repo: str) -> DatasetContent:
        """Check a built folder.

        Raises:
            ShardError: It is not what ``build`` wrote.
        """
        return DatasetContent(check_folder(folder), repo, self.replace_card)


@dataclass(frozen=True, slots=True)
class DatasetContent:
    """A built folder that may be published.

    Args:
        folder: The checked folder.
        repo: Id of the data set, for the examples of its card.
        replace_card: Whether a card that a person changed may be replaced.
    """

    repo_type: ClassVar[RepoType] = "dataset"
    folder: Folder
    repo: str
    replace_card: bool

    def compare(self, target: RepoTarget) -> Changes:
        """Compare with what is published at a revision now. Published languages that the folder lacks stay."""
        remote = look(target)
        published = _published_manifest(target, remote)
        if not self.replace_card:
            _check_card(target, remote, published)
        sets = _merged(self.folder, published)
        _check_kept(self.folder, remote, published)
        # A folder with part of the languages does not name the whole set.
        title = self.folder.manifest.pretty_name
        if published is not None and sets.keys() != self.folder.sets.keys():
            title = published.pretty_name
        report = self._report(sets)
        texts, manifest = texts_and_manifest(sets, title, self.repo, report)
        texts |= {MANIFEST: manifest.encoded()}
        sources: dict[str, Source] = {**texts}
        deleted = [REPORT] if report is None and published is not None and REPORT in published.files else []
        for tag, language_set in self.folder.sets.items():
            sources |= {path: self.folder.path / path for path in language_set.files}
            deleted += sorted(
                path for path in remote.files if path.startswith(f"{DATA}/{tag}/") and path not in language_set.files
            )
        changes = compare_files(
            remote,
            sources,
            manifest.files | {MANIFEST: hashlib.sha256(texts[MANIFEST]).hexdigest()},
            deleted,
            title="",
            mergeable=True,
            notes=_card_changes(published, manifest),
        )
        return replace(changes, title=_title(changes))

    def _report(self, sets: Mapping[str, LanguageSet]) -> bytes | None:
        """The report of the folder. It would mislead where published languages stay that it does not show."""
        if REPORT not in self.folder.manifest.files or sets.keys() != self.folder.sets.keys():
            return None
        return (self.folder.path / REPORT).read_bytes()

    def describe(self, changes: Changes) -> list[str]:
        """Files by language, with the bytes to send, and the texts beside them."""
        counts: dict[str, Counter[str]] = {tag: Counter() for tag in self.folder.sets}
        sizes: Counter[str] = Counter()
        lines = []
        for kind in ("added", "updated", "deleted", "unchanged"):
            for path in getattr(changes, kind):
                if "/" in path:
                    tag = path.split("/")[1]
                    counts[tag][kind] += 1
                    sizes[tag] += source_size(changes.sent[path]) if path in changes.sent else 0
                elif path in changes.sent:
                    lines.append(f"{path}: {kind}, {human_size(source_size(changes.sent[path]))}")
        languages = []
        for tag, kinds in counts.items():
            files = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
            rows = self.folder.sets[tag].rows
            languages.append(f"{tag:<10} {rows:,} rows; files: {files}; {human_size(sizes[tag])} to send")
        return languages + sorted(lines)

    def check_readback(self) -> None:
        """Reading back needs nothing that is not installed."""

    def read_back(self, target: RepoTarget, changes: Changes, head: str, sent: Iterable[str]) -> str:
        """Download the commit and compare rows and files."""
        manifest = dataset_readback.verify(target, changes.files, head, sent)
        rows = ", ".join(f"{tag} {language_set.rows:,}" for tag, language_set in manifest.languages.items())
        revision = "" if target.revision == "main" else f', revision="{target.revision}"'
        return f'rows: {rows}  load_dataset("{self.repo}", "{manifest.default}"{revision})'


def _published_manifest(target: RepoTarget, remote: Remote) -> Manifest | None:
    """The manifest of what is published, or None if this package did not publish it."""
    if remote.head is None or MANIFEST not in remote.files:
        return None
    try:
        return Manifest.parse(fetch(target, MANIFEST, remote.head))
    except ValueError as error:
        raise HubError(
            f"{target.url} has a {MANIFEST} that cannot be read ({error}), so its languages cannot be kept: "
            "publish under another name, or remove the file there"
        ) from error


def _check_card(target: RepoTarget, remote: Remote, published: Manifest | None) -> None:
    """A person's work on the card is never lost silently.

    Raises:
        HubError: The published card is not the one that publishing wrote.
    """
    if remote.head is None or README not in remote.files:
        return
    expected = published.files.get(README) if published else None
    if hashlib.sha256(fetch(target, README, remote.head)).hexdigest() != expected:
        raise HubError(
            f"the published {README} was {'changed by hand' if published else 'not written by publishing'}: "
            "put what you want to keep of it into the recipe or the corpus's rows, then pass --replace-card"
        )


def _merged(folder: Folder, published: Manifest | None) -> dict[str, LanguageSet]:
    """The languages after publishing: the folder's replace published ones in place, new ones come last.

    Raises:
        HubError: What is published has another layout.
    """
    if published is None:
        return folder.sets
    kept = published.languages
    others = kept.keys() - folder.sets.keys()
    if published.version != VERSION and others:
        raise HubError(
            f"the published set has the layout {published.version} and the folder {VERSION}, and no reader takes both: "
            f"publish {', '.join(sorted(others))} again as well, or use another name"
        )
    return {tag: folder.sets.get(tag, language_set) for tag, language_set in kept.items()} | folder.sets


def _check_kept(folder: Folder, remote: Remote, published: Manifest | None) -> None:
    """The files of languages that stay must be those that their manifest names.

    Raises:
        HubError: A file is foreign, missing or another one.
    """
    known: Mapping[str, LanguageSet] = published.languages if published else {}
    kept = {
        path: sha
        for tag, language_set in known.items()
        if tag not in folder.sets
        for path, sha in language_set.files.items()
    }
    own = tuple(f"{DATA}/{tag}/" for tag in folder.sets)
    others = {path for path in remote.files if path.startswith(f"{DATA}/") and not path.startswith(own)}
    if foreign := sorted(others - kept.keys()):
        raise HubError(
            f"{len(foreign)} published files such as {foreign[0]} are in no manifest, and readers would take their "
            "rows for this set's: remove them there, or publish under another name"
        )
    for path, sha in kept.items():
        file = remote.files.get(path)
        if file is None or (file.has_sha256 and file.digest != sha):
            raise HubError(
                f"the published {path} is {'missing' if file is None else 'not the file that its manifest names'}: "
                f"publish the language {path.split('/')[1]!r} again first"
            )


def _title(changes: Changes) -> str:
    """The message of a commit: the languages whose files it changes."""
    paths = [*changes.sent, *changes.deleted]
    tags = list(dict.fromkeys(path.split("/")[1] for path in paths if path.startswith(f"{DATA}/")))
    more = f" and {len(tags) - TITLE_LANGUAGES} more" if len(tags) > TITLE_LANGUAGES else ""
    return f"Publish {', '.join(tags[:TITLE_LANGUAGES])}{more}" if tags else "Publish the card"


def _card_changes(old: Manifest | None, new: Manifest) -> list[str]:
    """What the new card says differently."""
    rows = {tag: language_set.rows for tag, language_set in new.languages.items()}
    if old is None:
        languages = f"{len(rows)} language{'s' if len(rows) != 1 else ''}"
        return [f"card: new, {languages} ({', '.join(rows)}), {sum(rows.values()):,} rows"]
    before = {tag: language_set.rows for tag, language_set in old.languages.items()}
    lines = [f"card: {tag} added, {rows[tag]:,} rows" for tag in rows if tag not in before]
    lines += [
        f"card: {tag} {before[tag]:,} -> {rows[tag]:,} rows"
        for tag in rows
        if tag in before and before[tag] != rows[tag]
    ]
    unchanged = [tag for tag in rows if before.get(tag) == rows[tag]]
    if unchanged and lines:
        total = f"{sum(before.values()):,} -> {sum(rows.values()):,} rows in total"
        lines.append(f"card: {', '.join(unchanged)} unchanged; {total}")
    if old.pretty_name != new.pretty_name:
        lines.append(f"card: title {old.pretty_name!r} -> {new.pretty_name!r}")
    return lines


def human_size(count: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
