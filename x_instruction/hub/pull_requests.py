"""Publishing by a pull request: filled by several commits, and seen by readers only when it is merged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from x_instruction.errors import HubError
from x_instruction.hashing import digest
from x_instruction.hub.plan import Plan
from x_instruction.hub.retry import status_of, with_retries
from x_instruction.hub.target import KIND, RepoTarget
from x_instruction.hub.upload import MOVED, Upload, commit, title

# More than this in one commit is more than a server may do before its answer is given up.
MOST = 1_000
PART = 400
TRIES = 5
Compare = Callable[[RepoTarget], Plan]


def pull_request(place: RepoTarget, plan: Plan) -> tuple[RepoTarget, str]:
    """The pull request for a plan: the one that an earlier attempt opened, or a new one; and its address.

    Its title names content and base, so an earlier one holds nothing else.
    """
    name = f"{title(plan)} ({digest([str(plan.remote.head), plan.manifest.languages])[:12]})"
    opened = with_retries(
        lambda: list(
            place.api.get_repo_discussions(
                place.repo, repo_type=KIND, discussion_type="pull_request", discussion_status="open"
            )
        ),
        place.told,
    )
    found: Any = next((one for one in opened if one.title == name), None)
    if found is None:
        found = place.ask("create_pull_request", title=name, description="Published by x-instruction.")
    return place.at(f"refs/pr/{found.num}"), f"{place.url}/discussions/{found.num}"


def fill(place: RepoTarget, compare: Compare, sent: list[str]) -> tuple[Plan, str]:
    """Commit what a pull request lacks, the card and the manifest last.

    Args:
        place: the data set and its pull request.
        compare: what is to be done at a place.
        sent: gets the paths of what was sent.

    Returns:
        A plan of which nothing is left to do, and the head.
    """
    upload = Upload(place)

    def part() -> Plan:
        plan = compare(place)
        data = {path: source for path, source in plan.sent.items() if isinstance(source, Path)}
        if len(data) <= PART:
            return plan
        return replace(plan, added=dict(islice(data.items(), PART)), updated={}, deleted=[])

    while (plan := part()).size:
        done, head = commit(place, upload, plan, part)
        place.told(f"{place.revision} at {head[:12]}: {done.size} files")
        if len(done.sent) < PART:
            break
    sent += upload.sent
    last = compare(place)
    return last, str(last.remote.head)


def merge(place: RepoTarget, pull: RepoTarget) -> bool:
    """Merge a pull request; False when the branch that it goes to has moved too far for it."""
    number = number_of(pull)
    open_for_review(pull)
    try:
        place.ask("merge_pull_request", discussion_num=number)
    except HfHubHTTPError as error:
        details: Any = place.ask("get_discussion_details", discussion_num=number)
        if details.status == "merged":
            # The answer was lost, and not what was asked for.
            return True
        if status_of(error) not in MOVED | {400, 422}:
            raise
        return False
    return True


def number_of(pull: RepoTarget) -> int:
    """The number of a pull request."""
    return int(pull.revision.rpartition("/")[2])


def open_for_review(pull: RepoTarget) -> None:
    """Pull requests made by programs are drafts; this one is whole."""
    number = number_of(pull)
    details: Any = pull.ask("get_discussion_details", discussion_num=number)
    if details.status == "draft":
        pull.ask("change_discussion_status", discussion_num=number, new_status="open")


def by_pull_request(place: RepoTarget, compare: Compare, sent: list[str]) -> tuple[Plan, str]:
    """Publish through a pull request that is merged at the end.

    Args:
        place: the data set and its main branch.
        compare: what is to be done at a place.
        sent: gets the paths of what was sent.

    Returns:
        The last plan, and the head of the main branch after it.

    Raises:
        HubError: others were quicker every time.
    """
    for _ in range(TRIES):
        plan = compare(place)
        if not plan.size:
            return plan, str(plan.remote.head)
        pull, _ = pull_request(place, plan)
        fill(pull, compare, sent)
        if compare(place).remote.head != plan.remote.head or not merge(place, pull):
            # What was sent stays stored, so the next one costs commits and no bytes.
            place.told(f"{place.url} was changed meanwhile: joining with what is there")
            place.ask("change_discussion_status", discussion_num=number_of(pull), new_status="closed")
            continue
        # Where git joined two cards line by line, the card is written anew; nearly always there is nothing to do.
        return commit(place, Upload(place), compare(place), lambda: compare(place))
    raise HubError(f"{place.url} changed {TRIES} times while this was published: run the same command again")
