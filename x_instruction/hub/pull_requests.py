"""Publishing by a pull request: filled by several commits, and visible to readers only when it is merged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from x_instruction.errors import HubError
from x_instruction.hashing import digest
from x_instruction.hub.client import MAIN, RepoTarget
from x_instruction.hub.plan import Changes
from x_instruction.hub.retry import MOVED, status_of, with_retries
from x_instruction.hub.upload import Upload, commit

# A server may give up on a commit with more operations than this before it answers.
MAX_CHANGES = 1_000
CHANGES_PER_COMMIT = 400
TRIES = 5
Compare = Callable[[RepoTarget], Changes]


def is_needed(target: RepoTarget, changes: Changes) -> bool:
    """True if there are more changes than one commit to the main branch takes."""
    return changes.size > MAX_CHANGES and target.revision == MAIN


def pull_request(target: RepoTarget, changes: Changes) -> tuple[RepoTarget, str]:
    """The pull request for changes and its address: the one that an earlier attempt opened, or a new one.

    Its title names content and base, so an earlier one holds nothing else.
    """
    title = f"{changes.title} ({digest([str(changes.remote.head), changes.files])[:12]})"
    opened = with_retries(
        lambda: list(
            target.api.get_repo_discussions(
                target.repo,
                repo_type=target.repo_type,
                discussion_type="pull_request",
                discussion_status="open",
            )
        ),
        target.log,
    )
    request: Any = next((discussion for discussion in opened if discussion.title == title), None)
    if request is None:
        request = target.call("create_pull_request", title=title, description="Published by x-instruction.")
    return target.at(f"refs/pr/{request.num}"), f"{target.url}/discussions/{request.num}"


def fill(request: RepoTarget, compare: Compare, sent: list[str]) -> tuple[Changes, str]:
    """Commit what a pull request lacks, the card and the manifest last.

    Args:
        request: The repository at its pull request.
        compare: Compares with a revision.
        sent: Receives the paths of the files that were sent.

    Returns:
        A comparison with nothing left to do, and the head.
    """
    upload = Upload(request)

    def next_part() -> Changes:
        changes = compare(request)
        data = {path: source for path, source in changes.sent.items() if isinstance(source, Path)}
        if len(data) <= CHANGES_PER_COMMIT:
            return changes
        return replace(changes, added=dict(islice(data.items(), CHANGES_PER_COMMIT)), updated={}, deleted=[])

    while (changes := next_part()).size:
        done, head = commit(request, upload, changes, next_part)
        request.log(f"{request.revision} at {head[:12]}: {done.size} files")
        if len(done.sent) < CHANGES_PER_COMMIT:
            break
    sent += upload.sent
    last = compare(request)
    return last, str(last.remote.head)


def merge(target: RepoTarget, request: RepoTarget) -> bool:
    """Merge a pull request. False if its branch has moved too far."""
    number = number_of(request)
    open_for_review(request)
    try:
        target.call("merge_pull_request", discussion_num=number)
    except HfHubHTTPError as error:
        details: Any = target.call("get_discussion_details", discussion_num=number)
        if details.status == "merged":
            # Only the answer was lost.
            return True
        if status_of(error) not in MOVED | {400, 422}:
            raise
        return False
    return True


def number_of(request: RepoTarget) -> int:
    """The number of a pull request."""
    return int(request.revision.rpartition("/")[2])


def open_for_review(request: RepoTarget) -> None:
    """Take a pull request out of draft status, in which the client creates them."""
    number = number_of(request)
    details: Any = request.call("get_discussion_details", discussion_num=number)
    if details.status == "draft":
        request.call("change_discussion_status", discussion_num=number, new_status="open")


def by_pull_request(target: RepoTarget, compare: Compare, sent: list[str]) -> tuple[Changes, str]:
    """Publish through a pull request that is merged at the end.

    Args:
        target: The repository at its main branch.
        compare: Compares with a revision.
        sent: Receives the paths of the files that were sent.

    Returns:
        The last comparison, and the head of the main branch after it.

    Raises:
        HubError: Others committed first every time.
    """
    for _ in range(TRIES):
        changes = compare(target)
        if not changes.size:
            return changes, str(changes.remote.head)
        request, _ = pull_request(target, changes)
        fill(request, compare, sent)
        if compare(target).remote.head != changes.remote.head or not merge(target, request):
            # Uploaded files stay stored, so the next pull request costs commits and no bytes.
            target.log(f"{target.url} changed meanwhile: merging with what is there")
            target.call("change_discussion_status", discussion_num=number_of(request), new_status="closed")
            continue
        # git may have merged two cards line by line. Compare once more and write the card anew if so.
        return commit(target, Upload(target), compare(target), lambda: compare(target))
    raise HubError(f"{target.url} changed {TRIES} times during this publication: rerun the same command")
