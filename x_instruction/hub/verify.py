"""What a commit holds, compared with what it must hold. Data sets and models add their own reading on top."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from x_instruction.errors import HubError
from x_instruction.hub.client import RepoTarget
from x_instruction.hub.remote import Remote
from x_instruction.storage.atomic import file_digest

Result = TypeVar("Result")


def check_listing(target: RepoTarget, head: str, remote: Remote, files: Mapping[str, str]) -> None:
    """Every file is there, with the digest that the server lists.

    Args:
        target: The repository.
        head: The commit.
        remote: Its listing.
        files: Path to SHA-256 of every file that it must hold.

    Raises:
        HubError: One is missing or differs.
    """
    for path, sha in files.items():
        file = remote.files.get(path)
        if file is None:
            raise differs(target, head, path, "is missing")
        if file.has_sha256 and file.digest != sha:
            raise differs(target, head, path, f"has digest {file.digest[:12]}, expected {sha[:12]}")


def download(target: RepoTarget, head: str, path: str, sha256: str, read: Callable[[Path], Result]) -> Result:
    """Download a file, compare all of its bytes, and read it.

    Raises:
        HubError: It differs.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(target.call("hf_hub_download", filename=path, revision=head, local_dir=folder))
        if (digest := file_digest(file)) != sha256:
            raise differs(target, head, path, f"downloads with digest {digest[:12]}, expected {sha256[:12]}")
        return read(file)


def differs(target: RepoTarget, head: str, part: str, how: str) -> HubError:
    """The error for a published commit that is not what was sent."""
    return HubError(
        f"{target.url} at {head[:12]}: {part} {how}. Readers of this commit get that: rerun the same command"
    )
