"""What a comparison with published files finds, without a server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from x_instruction.hub.plan import Source, compare_files, source_size
from x_instruction.hub.remote import Remote, RemoteFile

CONTENT = b"rows\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
# As `git hash-object` prints it.
GIT = "2c9c50d30bb3adb324bdce54c72584a30e8b39a3"
SAME_SIZE = b"Rows\n"


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(
    ("published", "found"),
    [
        (None, "added"),
        (RemoteFile(5, SHA256), "unchanged"),
        # What is in large file storage is known by its digest alone.
        (RemoteFile(6, SHA256), "unchanged"),
        (RemoteFile(5, hashlib.sha256(SAME_SIZE).hexdigest()), "updated"),
        (RemoteFile(5, GIT), "unchanged"),
        (RemoteFile(6, GIT), "updated"),
        (RemoteFile(5, git_digest(SAME_SIZE)), "updated"),
        (RemoteFile(4, git_digest(CONTENT[:4])), "updated"),
    ],
)
def test_a_file_is_new_changed_or_published(
    on_disk: bool, published: RemoteFile | None, found: str, tmp_path: Path
) -> None:
    source: Source = CONTENT
    if on_disk:
        source = tmp_path / "a.csv"
        source.write_bytes(CONTENT)
    remote = Remote("head", True, files={"b.csv": RemoteFile(1, SHA256)} | ({"a.csv": published} if published else {}))
    changes = compare_files(remote, {"a.csv": source}, {"a.csv": SHA256}, iter(["b.csv"]), title="T", mergeable=True)
    assert changes.added == ({"a.csv": source} if found == "added" else {})
    assert changes.updated == ({"a.csv": source} if found == "updated" else {})
    assert changes.unchanged == (["a.csv"] if found == "unchanged" else [])
    assert (changes.deleted, changes.size) == (["b.csv"], 1 if found == "unchanged" else 2)
    assert (changes.remote, changes.files) == (remote, {"a.csv": SHA256})
    assert (changes.title, changes.mergeable, changes.notes) == ("T", True, ())
    assert source_size(source) == 5


def test_compare_files_returns_its_arguments_unchanged() -> None:
    notes = iter(["Swahili is new"])
    changes = compare_files(Remote(), {}, {"kept.csv": SHA256}, [], title="", mergeable=False, notes=notes)
    assert (changes.notes, changes.mergeable, changes.sent) == (("Swahili is new",), False, {})
    assert changes.files == {"kept.csv": SHA256}
