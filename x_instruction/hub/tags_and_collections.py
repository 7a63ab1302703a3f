"""What points at a published revision: a tag, a collection."""

from __future__ import annotations

import re
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from x_instruction.errors import HubError
from x_instruction.hub.client import RepoTarget
from x_instruction.hub.retry import status_of, with_retries

_SLUG = re.compile(r"[^/\s]+/[^/\s]+-[0-9a-f]{24}")


def tagged_commit(target: RepoTarget, tag: str) -> str | None:
    """The commit of a tag, or None if there is no such tag."""
    refs = target.call("list_repo_refs")
    return next((str(ref.target_commit) for ref in refs.tags if ref.name == tag), None)


def check_tag_free(target: RepoTarget, tag: str, head: str | None, move: bool) -> str | None:
    """Check that a tag can be set. A tag on another commit is not moved silently, as others may cite it.

    Args:
        target: The repository.
        tag: Its name.
        head: Commit to tag; None for one that does not exist yet.
        move: Whether the tag may be moved.

    Returns:
        The commit that the tag names now, or None.

    Raises:
        HubError: The tag names another commit, and ``move`` is False.
    """
    tagged = tagged_commit(target, tag)
    if tagged is not None and tagged != head and not move:
        raise HubError(
            f"the tag {tag} of {target.repo} is on commit {tagged[:12]}, and others may cite it: "
            "choose another name, or pass --move-tag"
        )
    return tagged


def set_tag(target: RepoTarget, tag: str, head: str, move: bool) -> None:
    """Put a tag on a commit."""
    tagged = check_tag_free(target, tag, head, move)
    if tagged == head:
        return
    if tagged is not None:
        target.call("delete_tag", tag=tag)
    target.call("create_tag", tag=tag, revision=head)


def find_collection(target: RepoTarget, name: str) -> Any:
    """A collection by its slug, or by its title in the namespace of the repository; None if no collection has it.

    Raises:
        HubError: ``name`` is a slug, and there is no such collection.
    """
    if not _SLUG.fullmatch(name):
        owner = target.repo.partition("/")[0]
        collections = with_retries(lambda: list(target.api.list_collections(owner=owner)), target.log)
        return next((collection for collection in collections if collection.title == name), None)
    try:
        return with_retries(lambda: target.api.get_collection(name), target.log)
    except HfHubHTTPError as error:
        if status_of(error) != 404:
            raise
        raise HubError(f"{target.api.endpoint} has no collection {name}: pass a title to create one") from error


def add_to_collection(target: RepoTarget, name: str) -> str:
    """Add the repository to a collection, which is created if it does not exist. Returns the slug."""
    collection = find_collection(target, name)
    if collection is None:
        owner = target.repo.partition("/")[0]
        collection = with_retries(
            lambda: target.api.create_collection(name, namespace=owner, exists_ok=True), target.log
        )
    slug = str(collection.slug)
    with_retries(
        lambda: target.api.add_collection_item(slug, target.repo, target.repo_type, exists_ok=True), target.log
    )
    return slug
