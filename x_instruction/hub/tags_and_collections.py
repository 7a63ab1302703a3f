"""What names a published revision afterwards: a tag, a collection."""

from __future__ import annotations

import re
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from x_instruction.errors import HubError
from x_instruction.hub.retry import status_of, with_retries
from x_instruction.hub.target import RepoTarget

_SLUG = re.compile(r"[^/\s]+/[^/\s]+-[0-9a-f]{24}")


def tag_at(place: RepoTarget, tag: str) -> str | None:
    """The commit that a tag names now."""
    refs = place.ask("list_repo_refs")
    return next((str(one.target_commit) for one in refs.tags if one.name == tag), None)


def check_tag_free(place: RepoTarget, tag: str, head: str | None, move: bool) -> str | None:
    """A tag that others may have cited stays where it is.

    Args:
        place: the data set.
        tag: its name.
        head: commit that it would name, None for one that is yet to be made.
        move: whether it may be moved.

    Returns:
        The commit that it names now.

    Raises:
        HubError: it names another commit.
    """
    there = tag_at(place, tag)
    if there is not None and there != head and not move:
        raise HubError(
            f"the tag {tag} of {place.repo} names {there[:12]}, which others may have cited: "
            "take another name, or pass --move-tag"
        )
    return there


def set_tag(place: RepoTarget, tag: str, head: str, move: bool) -> None:
    """Let a tag name a commit."""
    there = check_tag_free(place, tag, head, move)
    if there == head:
        return
    if there is not None:
        place.ask("delete_tag", tag=tag)
    place.ask("create_tag", tag=tag, revision=head)


def find_collection(place: RepoTarget, name: str) -> Any:
    """A collection by its slug, or by its title among those of the data set's namespace; None where none has it.

    Raises:
        HubError: it is a slug, and there is no such collection.
    """
    if not _SLUG.fullmatch(name):
        owner = place.repo.partition("/")[0]
        found = with_retries(lambda: list(place.api.list_collections(owner=owner)), place.told)
        return next((one for one in found if one.title == name), None)
    try:
        return with_retries(lambda: place.api.get_collection(name), place.told)
    except HfHubHTTPError as error:
        if status_of(error) != 404:
            raise
        raise HubError(f"{place.api.endpoint} has no collection {name}: name its title to make one") from error


def put_into_collection(place: RepoTarget, name: str) -> str:
    """Put the data set into a collection, which is made when there is none; its slug."""
    found = find_collection(place, name)
    if found is None:
        owner = place.repo.partition("/")[0]
        found = with_retries(lambda: place.api.create_collection(name, namespace=owner, exists_ok=True), place.told)
    slug = str(found.slug)
    with_retries(lambda: place.api.add_collection_item(slug, place.repo, "dataset", exists_ok=True), place.told)
    return slug
