"""What would be published, in words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from x_instruction.builders.manifest import Manifest
from x_instruction.hub.plan import Plan, Source
from x_instruction.hub.publish import Published, PublishPlan
from x_instruction.hub.pull_requests import MOST


def lines(prepared: PublishPlan) -> list[str]:
    """What publishing would change, a line each."""
    wish, plan, place = prepared.wish, prepared.plan, prepared.target
    told = [_where(prepared)]
    told += [f"  {tag:<10} {line}" for tag, line in _languages(prepared).items()]
    texts = {path: kind for path, kind in _kinds(plan).items() if "/" not in path}
    told += [f"  {path}: {kind}, {size(plan.sent[path])}" for path, kind in texts.items() if path in plan.sent]
    told += [f"  card: {change}" for change in card_changes(plan.remote.manifest, plan.manifest)]
    if wish.tag is not None:
        moved = f", moved from {prepared.tag[:12]}" if prepared.tag else ""
        told.append(f"  tag {wish.tag}: {'names this already' if prepared.tag and not plan.size else 'set' + moved}")
    if wish.collection is not None:
        told.append(f"  collection {wish.collection!r}: {'gets it' if prepared.collection else 'made, gets it'}")
    if not plan.size and plan.remote.head:
        told.append(f"  nothing to publish: {place.repo} holds this already")
    return told


def _where(prepared: PublishPlan) -> str:
    wish, remote, place = prepared.wish, prepared.plan.remote, prepared.target
    if remote.head is None:
        seen = {True: "private", False: "public", None: "seen by whom its owner's settings say"}[wish.private]
        return f"{place.url}: created, {seen}"
    how = "by a pull request that is left open" if wish.create_pr else ""
    if not how and prepared.plan.size > MOST and place.revision == "main":
        how = "by a pull request that is merged"
    branch = "" if remote.branch else f", branch {place.revision} begun there"
    seen = ""
    if wish.private is not None and wish.private != remote.private:
        seen = f", made {'private' if wish.private else 'public'}"
    return f"{place.url}: {place.revision} at {remote.head[:12]}{branch}{seen}{', ' if how else ''}{how}"


def _kinds(plan: Plan) -> dict[str, str]:
    kinds = dict.fromkeys(plan.unchanged, "unchanged") | dict.fromkeys(plan.added, "added")
    return kinds | dict.fromkeys(plan.updated, "updated") | dict.fromkeys(plan.deleted, "deleted")


def _languages(prepared: PublishPlan) -> dict[str, str]:
    """Files by language and kind, and the bytes that are sent."""
    plan = prepared.plan
    counts: dict[str, Counter[str]] = {tag: Counter() for tag in prepared.folder.sets}
    sizes: Counter[str] = Counter()
    for path, kind in _kinds(plan).items():
        if path.count("/") > 1:
            tag = path.split("/")[1]
            counts.setdefault(tag, Counter())[kind] += 1
            sizes[tag] += _bytes(plan.sent[path]) if path in plan.sent else 0
    order = ("added", "updated", "deleted", "unchanged")
    shown = {}
    for tag, kinds in counts.items():
        files = ", ".join(f"{kinds[kind]} {kind}" for kind in order if kinds[kind])
        rows = prepared.folder.sets[tag].rows
        shown[tag] = f"{rows:,} rows; files: {files}; {human(sizes[tag])} to send"
    return shown


def _bytes(source: Source) -> int:
    return source.stat().st_size if isinstance(source, Path) else len(source)


def size(source: Source) -> str:
    """The size of what is sent."""
    return human(_bytes(source))


def human(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("gigabytes are the last")


def card_changes(old: Manifest | None, new: Manifest) -> list[str]:
    """What the card says otherwise than before."""
    rows = {tag: one.rows for tag, one in new.sets().items()}
    if old is None:
        return [f"new, {len(rows)} languages ({', '.join(rows)}), {sum(rows.values()):,} rows"]
    before = {tag: one.rows for tag, one in old.sets().items()}
    told = [f"{tag} added, {rows[tag]:,} rows" for tag in rows if tag not in before]
    told += [
        f"{tag} {before[tag]:,} -> {rows[tag]:,} rows" for tag in rows if tag in before and before[tag] != rows[tag]
    ]
    stay = [tag for tag in rows if before.get(tag) == rows[tag]]
    if stay and told:
        told.append(f"{', '.join(stay)} as before; {sum(before.values()):,} -> {sum(rows.values()):,} rows in all")
    if old.pretty_name != new.pretty_name:
        told.append(f"title {old.pretty_name!r} -> {new.pretty_name!r}")
    return told


def done(published: Published, repo: str) -> str:
    """One line: where it is, what it holds, how it is used."""
    rows = ", ".join(f"{tag} {count:,}" for tag, count in published.rows.items())
    revision = "" if published.revision == "main" else f', revision="{published.revision}"'
    use = f'load_dataset("{repo}", "{published.default}"{revision})'
    pull = f"  pull request {published.pull}" if published.pull else ""
    return f"{published.url}  rows: {rows}{pull}  {use}"
