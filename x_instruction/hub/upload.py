"""Sending what a plan says: large files first, which nobody sees, then one commit that shows all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError

from x_instruction.errors import HubError
from x_instruction.hub.plan import Plan
from x_instruction.hub.retry import passing, status_of, wait_for, with_retries
from x_instruction.hub.target import KIND, RepoTarget

# Another publisher was quicker, or the repository is busy with one.
MOVED = frozenset({409, 412})
TRIES = 40
MIB = 1 << 20


class Upload:
    """Files on their way to one data set. What was sent once is not sent again, in this process or the next.

    Args:
        place: where to.
    """

    def __init__(self, place: RepoTarget) -> None:
        self._place = place
        self._sent: dict[str, CommitOperationAdd] = {}

    def send(self, plan: Plan) -> None:
        """Send the large files of a plan; nobody sees them yet.

        They go in batches of a hundredth of the whole, each of which the store keeps when it is done: who is killed
        sends at most that much again. With Xet a batch is one upload of chunks, without it a list of files.
        """
        new = [path for path, source in plan.sent.items() if isinstance(source, Path) and path not in self._sent]
        sizes = {path: Path(str(plan.sent[path])).stat().st_size for path in new}
        done, total = 0, sum(sizes.values())
        for batch in batches(sizes, max(MIB, total // 100)):
            operations = [CommitOperationAdd(path, str(plan.sent[path])) for path in batch]
            with_retries(lambda operations=operations: self._preupload(operations), self._place.told)  # type: ignore[misc]
            self._sent |= dict(zip(batch, operations, strict=True))
            before, done = done, done + sum(sizes[path] for path in batch)
            if done == total or done * 10 // total > before * 10 // total:
                self._place.told(f"sent {done / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    def _preupload(self, operations: list[CommitOperationAdd]) -> None:
        # Freed operations would be empty when the server asks for them again.
        self._place.api.preupload_lfs_files(
            self._place.repo, operations, repo_type=KIND, revision=self._place.revision, free_memory=False
        )

    @property
    def sent(self) -> list[str]:
        """Paths of the large files that were sent."""
        return list(self._sent)

    def operations(self, plan: Plan) -> list[CommitOperationAdd | CommitOperationDelete]:
        """The operations of a plan, large files by their digests."""
        made: list[CommitOperationAdd | CommitOperationDelete] = []
        for path, source in plan.sent.items():
            made.append(self._sent[path] if isinstance(source, Path) else CommitOperationAdd(path, source))
        return made + [CommitOperationDelete(path) for path in plan.deleted]


def batches(sizes: dict[str, int], most: int) -> Iterator[list[str]]:
    """Paths in batches of at most so many bytes, or of one file."""
    batch: list[str] = []
    held = 0
    for path, size in sizes.items():
        if batch and held + size > most:
            yield batch
            batch, held = [], 0
        batch.append(path)
        held += size
    if batch:
        yield batch


def commit(place: RepoTarget, upload: Upload, plan: Plan, again: Callable[[], Plan]) -> tuple[Plan, str]:
    """Publish a plan by one commit on top of what the plan compared with.

    When somebody else was quicker, or an answer was lost, the comparison is made again: what was published meanwhile
    is merged, and what this one did publish is not published twice.

    Args:
        place: where to.
        upload: sends the files.
        plan: what to do.
        again: compares anew.

    Returns:
        The plan that was carried out, and the commit that holds it.

    Raises:
        HubError: others were quicker every time.
    """
    for attempt in range(TRIES):
        if plan.remote.head is not None and not plan.size:
            return plan, plan.remote.head
        upload.send(plan)
        try:
            return plan, _commit(place, upload, plan)
        except (HfHubHTTPError, httpx2.TransportError, OSError) as error:
            if not passing(error, MOVED):
                raise
            # More than a few seconds only help against a busy server, and not against a race.
            wait_for(error, min(attempt, 3) if status_of(error) in MOVED else attempt, place.told)
        plan = again()
    raise HubError(
        f"{place.url} changed {TRIES} times while this was published: run the same command again, "
        "what was uploaded is kept"
    )


def _commit(place: RepoTarget, upload: Upload, plan: Plan) -> str:
    try:
        made: Any = place.api.create_commit(
            place.repo,
            upload.operations(plan),
            repo_type=KIND,
            commit_message=title(plan),
            revision=place.revision,
            parent_commit=plan.remote.head,
        )
    except ValueError as error:
        # The client says so of metadata that the Hub does not take; a bad request is a ValueError, too.
        if isinstance(error, HfHubHTTPError):
            raise
        raise HubError(f"{place.url} does not take the card: {' '.join(str(error).split())}") from error
    return str(made.oid)


def title(plan: Plan) -> str:
    """What a commit says: the languages whose files it changes."""
    tags = list(dict.fromkeys(path.split("/")[1] for path in [*plan.sent, *plan.deleted] if path.count("/") > 1))
    shown = ", ".join(tags[:10]) + (f" and {len(tags) - 10} more" if len(tags) > 10 else "")
    return f"Publish {shown}" if tags else "Publish the card"
