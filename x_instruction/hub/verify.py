"""What was published, downloaded and compared before it is called published."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfFileSystem

from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.schema import DATA
from x_instruction.errors import HubError
from x_instruction.hub.remote import Remote, fetch, look
from x_instruction.hub.retry import with_retries
from x_instruction.hub.target import RepoTarget
from x_instruction.storage.atomic import file_digest

THREADS = 4
# Holds the footer of nearly every file; a longer one is asked for by its length.
TAIL = 1 << 16
# A Hub answers some thousand downloads in five minutes: of languages that were not touched, no more footers are read.
FOOTERS = 500


def verify(place: RepoTarget, manifest: Manifest, sent: Iterable[str], head: str) -> None:
    """Compare a commit with what was to be published.

    Every path by size and digest as the server lists them, data files' rows by their footers, read by range, and the
    files that were sent by all of their bytes. Files of other languages that are equal by digest have their rows.

    Args:
        place: where it was published.
        manifest: what the commit must hold.
        sent: paths of the files that were sent.
        head: the commit.

    Raises:
        HubError: something differs; the message names it.
    """
    there = look(place.at(head))
    published = fetch(place, MANIFEST, head)
    if published != manifest.encoded():
        raise _differs(place, head, MANIFEST, "is another one than was sent")
    _check_listing(place, head, there, manifest)
    changed = [path for path in dict.fromkeys(sent) if path in manifest.files]
    with ThreadPoolExecutor(THREADS) as pool:
        wholes = pool.map(lambda path: _whole(place, head, path, manifest.files[path]), changed)
        rows = {path: count for path, count in zip(changed, wholes, strict=True) if count is not None}
        rest = [path for path in _asked(manifest, changed) if path not in rows]
        footers = pool.map(lambda path: _footer(place, head, path, there.files[path].size), rest)
        rows |= dict(zip(rest, footers, strict=True))
    for tag, one in manifest.sets().items():
        for split, part in one.splits.items():
            if part.files.keys() <= rows.keys() and (came := sum(rows[path] for path in part.files)) != part.rows:
                raise _differs(place, head, f"split {split} of {tag}", f"has {came} rows, wanted {part.rows}")


def _asked(manifest: Manifest, changed: list[str]) -> list[str]:
    """Data files whose rows are counted: of languages that were sent, and of others as far as ``FOOTERS`` goes."""
    touched = {path.split("/")[1] for path in changed if path.startswith(f"{DATA}/")}
    asked: list[str] = []
    left = FOOTERS
    for tag, one in manifest.sets().items():
        left -= 0 if tag in touched else len(one.files)
        if tag in touched or left >= 0:
            asked += one.files
    return asked


def _check_listing(place: RepoTarget, head: str, there: Remote, manifest: Manifest) -> None:
    held = {path for path in there.files if path.startswith(f"{DATA}/")}
    for path in sorted(held - manifest.files.keys()):
        raise _differs(place, head, path, "is there, and the manifest does not name it")
    sizes = {tag: sum(part.file_bytes for part in one.splits.values()) for tag, one in manifest.sets().items()}
    for path, wanted in manifest.files.items():
        if path not in there.files:
            raise _differs(place, head, path, "is missing")
        if len(there.files[path].digest) == 64 and there.files[path].digest != wanted:
            raise _differs(place, head, path, f"has digest {there.files[path].digest[:12]}, wanted {wanted[:12]}")
    for tag, size in sizes.items():
        if (came := sum(there.files[path].size for path in there.rows_of(tag))) != size:
            raise _differs(place, head, f"the files of {tag}", f"have {came} bytes, wanted {size}")


def _whole(place: RepoTarget, head: str, path: str, wanted: str) -> int | None:
    """Download a file and compare all of it; the rows of a data file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(place.ask("hf_hub_download", filename=path, revision=head, local_dir=folder))
        if (came := file_digest(file)) != wanted:
            raise _differs(place, head, path, f"downloads with digest {came[:12]}, wanted {wanted[:12]}")
        return int(pq.read_metadata(file).num_rows) if path.startswith(f"{DATA}/") else None


def _footer(place: RepoTarget, head: str, path: str, size: int) -> int:
    """Rows of a published Parquet file: only its end is fetched."""
    files = HfFileSystem(endpoint=place.api.endpoint)

    def end(length: int) -> bytes:
        with files.open(f"datasets/{place.repo}@{head}/{path}", "rb", cache_type="none") as stream:
            stream.seek(max(0, size - length))
            return bytes(stream.read(length))

    tail = with_retries(lambda: end(TAIL), place.told)
    if tail[-4:] != b"PAR1":
        raise _differs(place, head, path, "is no Parquet file")
    needed = int.from_bytes(tail[-8:-4], "little") + 12
    if needed > len(tail):
        tail = with_retries(lambda: end(needed), place.told)
    try:
        return int(pq.read_metadata(pa.BufferReader(tail)).num_rows)
    except pa.ArrowInvalid as error:
        raise _differs(place, head, path, f"is no Parquet file ({error})") from error


def _differs(place: RepoTarget, head: str, what: str, how: str) -> HubError:
    return HubError(
        f"{place.url} at {head[:12]}: {what} {how}. Readers of this commit are served that: run the same command again"
    )
