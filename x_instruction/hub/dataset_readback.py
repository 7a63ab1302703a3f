"""A published data set, downloaded and compared with what was sent: files, digests and rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfFileSystem

from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.schema import DATA
from x_instruction.hub.client import RepoTarget
from x_instruction.hub.remote import Remote, look
from x_instruction.hub.retry import with_retries
from x_instruction.hub.verify import check_listing, differs, download

THREADS = 4
# Bytes from the end of a Parquet file that hold nearly every footer. A longer one is asked for by its length.
FOOTER_GUESS = 1 << 16
# The Hub allows some thousand downloads in five minutes, so only this many footers of untouched languages are read.
MAX_UNTOUCHED_FOOTERS = 500


def verify(target: RepoTarget, files: Mapping[str, str], head: str, sent: Iterable[str]) -> Manifest:
    """Compare a commit with what was to be published.

    Every path is compared by size and digest as the server lists them, the rows of data files by their footers, which
    are read by range, and the files that were sent by all of their bytes. Files of other languages that are equal by
    digest have their rows.

    Args:
        target: Where it was published.
        files: Path to SHA-256 of every file that the commit must hold.
        head: The commit.
        sent: Paths of the large files that were sent.

    Returns:
        The published manifest.

    Raises:
        HubError: Something differs. The message names it.
    """
    remote = look(target.at(head))
    check_listing(target, head, remote, files)
    manifest = download(target, head, MANIFEST, files[MANIFEST], lambda file: Manifest.parse(file.read_bytes()))
    _check_folders(target, head, remote, manifest)
    texts = [path for path in manifest.files if "/" not in path]
    changed = [path for path in dict.fromkeys([*sent, *texts]) if path in manifest.files]
    with ThreadPoolExecutor(THREADS) as pool:
        wholes = pool.map(lambda path: download(target, head, path, manifest.files[path], _rows_of), changed)
        rows = {path: count for path, count in zip(changed, wholes, strict=True) if count is not None}
        rest = [path for path in _counted_files(manifest, changed) if path not in rows]
        footers = pool.map(lambda path: _footer_rows(target, head, path, remote.files[path].size), rest)
        rows |= dict(zip(rest, footers, strict=True))
    for tag, language_set in manifest.languages.items():
        for split, part in language_set.splits.items():
            if part.files.keys() <= rows.keys() and (count := sum(rows[path] for path in part.files)) != part.rows:
                raise differs(target, head, f"split {split} of {tag}", f"has {count} rows, expected {part.rows}")
    return manifest


def _check_folders(target: RepoTarget, head: str, remote: Remote, manifest: Manifest) -> None:
    """No foreign file is in a data folder, and the folders have the sizes of the manifest.

    Sizes matter for small files that the server keeps as regular ones: it lists no SHA-256 of those.
    """
    for path in sorted(remote.files.keys() - manifest.files.keys()):
        if path.startswith(f"{DATA}/"):
            raise differs(target, head, path, "is there, and the manifest does not name it")
    for tag, language_set in manifest.languages.items():
        expected = sum(part.file_bytes for part in language_set.splits.values())
        if (size := sum(remote.files[path].size for path in language_set.files)) != expected:
            raise differs(target, head, f"the files of {tag}", f"have {size} bytes, expected {expected}")


def _counted_files(manifest: Manifest, changed: list[str]) -> list[str]:
    """Data files whose rows are counted: of languages that were sent, and of others up to a limit."""
    touched = {path.split("/")[1] for path in changed if path.startswith(f"{DATA}/")}
    files: list[str] = []
    left = MAX_UNTOUCHED_FOOTERS
    for tag, language_set in manifest.languages.items():
        left -= 0 if tag in touched else len(language_set.files)
        if tag in touched or left >= 0:
            files += language_set.files
    return files


def _rows_of(file: Path) -> int | None:
    """Rows of a data file; None for a text."""
    return int(pq.read_metadata(file).num_rows) if file.suffix == ".parquet" else None


def _footer_rows(target: RepoTarget, head: str, path: str, size: int) -> int:
    """Rows of a published Parquet file. Only its end is downloaded."""
    files = HfFileSystem(endpoint=target.api.endpoint)

    def end(length: int) -> bytes:
        with files.open(f"datasets/{target.repo}@{head}/{path}", "rb", cache_type="none") as stream:
            stream.seek(max(0, size - length))
            return bytes(stream.read(length))

    tail = with_retries(lambda: end(FOOTER_GUESS), target.log)
    if tail[-4:] != b"PAR1":
        raise differs(target, head, path, "is not a Parquet file")
    # A Parquet file ends with the footer, its length in four bytes, and four bytes of magic.
    length = int.from_bytes(tail[-8:-4], "little") + 12
    if length > len(tail):
        tail = with_retries(lambda: end(length), target.log)
    try:
        return int(pq.read_metadata(pa.BufferReader(tail)).num_rows)
    except pa.ArrowInvalid as error:
        raise differs(target, head, path, f"is not a Parquet file ({error})") from error
