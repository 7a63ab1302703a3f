"""Exact and near duplicates among passages that do not fit in memory.

Exact: the digest of every earlier text is looked up on disk (``SeenTexts``).

Near: passages are written to disk with the band keys of their MinHash signatures (locality-sensitive hashing).
``decide`` processes one band after the other and compares passages with equal keys by the exact Jaccard similarity of
their shingles. In each group of equal keys the first remaining passage is the leader: passages similar enough to it
are dropped, and the others are compared with the first of them, and so on. So a passage is only dropped in favour of
an earlier one, the first of a chain of duplicates is always kept, and later passages never change a decision about
earlier ones.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from x_instruction.corpus.disk_buffer import DiskBuffer
from x_instruction.corpus.shingles import band_keys, bands, shingles, signatures
from x_instruction.records import Dropped, Passage, Screened, dropped

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Passages and characters hashed, keys sorted, and pairs compared at once. They bound the memory.
BATCH = 1_000
BATCH_CHARACTERS = 1 << 17
KEYS = 1 << 18
PAIRS = 1 << 7
# Bytes of a key with the number of its passage.
PAIR = 16
# Leaders per group of equal keys. Only groups of many dissimilar passages would need more, and other bands split these.
LEADERS = 8
# When pairs are compared, 64 bits hold the number of the pair and this many bits of the hash of a shingle.
HASH_BITS = np.uint64(51)


class SeenTexts:
    """The digests of earlier texts, in a file.

    Args:
        folder: folder of the file, which ``close`` removes.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "seen.sqlite"
        self._database = sqlite3.connect(self._path, isolation_level=None)
        # The file is temporary, so it need not survive a crash.
        self._database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-8000;")
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, id TEXT) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def close(self) -> None:
        """Close and remove the file."""
        self._database.close()
        self._path.unlink(missing_ok=True)

    def first(self, text_hash: str, id: str) -> str | None:
        """Add a text and return the id of the document that had it first, or None if it is new.

        Args:
            text_hash: SHA-256 of the text, hex.
            id: the document's id.
        """
        digest = bytes.fromhex(text_hash)
        if self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, id)).rowcount:
            return None
        row = self._database.execute("SELECT id FROM seen WHERE digest = ?", (digest,)).fetchone()
        return str(row[0])


class Deduplicator:
    """Finds near duplicates in a stream of passages. Memory does not grow with their number.

    Args:
        folder: folder of its files, which ``close`` removes.
        jaccard: passages with at least this Jaccard similarity are duplicates, 0 to 1.
        words: build shingles from words; from characters if false.
    """

    def __init__(self, folder: Path, jaccard: float, words: bool) -> None:
        self._spool = DiskBuffer(folder)
        self._jaccard, self._words = jaccard, words
        self._bands, self._rows = bands(jaccard)
        self._paths = [folder / f"band-{number:02d}.keys" for number in range(self._bands)]
        self._files = [open(path, "w+b") for path in self._paths]  # noqa: SIM115
        self._batch: list[str] = []
        self._keys: list[bytes] = []
        self._characters = 0
        # The passage in favour of which each is dropped (-1: it is kept), and their similarity.
        self._for = np.zeros(0, dtype=np.int32)
        self._similarity = np.zeros(0, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._spool)

    def __enter__(self) -> Deduplicator:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close and remove the files."""
        self._spool.close()
        for stream, path in zip(self._files, self._paths, strict=True):
            stream.close()
            path.unlink(missing_ok=True)

    def add(self, passage: Passage) -> None:
        """Add a passage. Its keys are computed unless it has them."""
        self._spool.add(passage)
        if isinstance(passage, Screened) and not self._batch:
            self._keys.append(passage.keys)
        else:
            self._batch.append(passage.text)
            self._characters += len(passage.text)
        if max(len(self._batch), len(self._keys)) >= BATCH or self._characters >= BATCH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Write the keys of the passages added since the last flush."""
        # Passages with keys come first.
        for keys in (self._keys, text_keys(self._batch, self._jaccard, self._words)):
            if keys:
                columns = np.frombuffer(b"".join(keys), dtype=np.uint64).reshape(len(keys), self._bands).T
                for stream, column in zip(self._files, columns, strict=True):
                    stream.write(column.tobytes())
        self._batch, self._keys, self._characters = [], [], 0

    def decide(self) -> int:
        """Find the duplicates among all passages so far and return how many passages are kept."""
        self.flush()
        number = len(self._spool)
        self._for = np.full(number, -1, dtype=np.int32)
        self._similarity = np.zeros(number, dtype=np.float32)
        for stream in self._files:
            stream.flush()
        # Each band is sorted in parts of the key space, so that memory does not grow with the number of passages.
        for path in self._paths:
            for numbers, keys in _parts(path, self._for):
                self._compare(numbers, keys)
        return int((self._for < 0).sum())

    def survivors(self) -> Iterator[Passage | Dropped]:
        """All passages in order, duplicates as ``Dropped`` with ``near_duplicate``. Call ``decide`` first."""
        leaders = self._for
        for number, passage in enumerate(self._spool):
            if leaders[number] < 0:
                yield passage
            else:
                yield dropped(passage.id, "near_duplicate", self._detail(number), passage.text)

    def _detail(self, number: int) -> str:
        leader = first = int(self._for[number])
        while self._for[first] >= 0:
            first = int(self._for[first])
        id = self._spool.id(leader)
        chain = "" if first == leader else f", itself a duplicate, directly or by a chain, of {self._spool.id(first)}"
        return f"of {id}, Jaccard {self._similarity[number]:.2f}{chain}"

    def _compare(self, numbers: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Mark passages that are similar to the leader of their group. A group is a run of equal keys."""
        for _ in range(LEADERS):
            if not len(keys):
                return
            first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
            sizes = np.diff(first, append=len(keys))
            leaders = np.repeat(numbers[first], sizes)
            other = np.ones(len(keys), dtype=bool)
            other[first] = False
            if not other.any():
                return
            pairs = np.stack((leaders[other], numbers[other]), axis=1)
            similar = np.concatenate([self._similar(pairs[i : i + PAIRS]) for i in range(0, len(pairs), PAIRS)])
            is_duplicate = similar >= self._jaccard
            self._for[pairs[is_duplicate, 1]] = pairs[is_duplicate, 0]
            self._similarity[pairs[is_duplicate, 1]] = similar[is_duplicate]
            numbers, keys = numbers[other][~is_duplicate], keys[other][~is_duplicate]

    def _similar(self, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Jaccard similarity of each pair, (pairs,), from pairs of passage numbers, (pairs, 2)."""
        # The shingles of each distinct passage, as sorted sets: number of the passage in the high bits, hash in the low
        # ones. 51 bits of a hash suffice for the few thousand shingles compared here.
        numbers, inverse = np.unique(pairs, return_inverse=True)
        inverse = inverse.reshape(pairs.shape)
        hashes, starts = shingles(self._spool.texts(numbers.tolist()), self._words)
        owner = np.repeat(np.arange(len(numbers), dtype=np.uint64), np.diff(starts))
        # Sorting is several times faster here than the hash table of numpy.unique.
        ordered = np.sort((owner << HASH_BITS) | (hashes >> (np.uint64(64) - HASH_BITS)))
        unique = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
        sizes = np.bincount((unique >> HASH_BITS).astype(np.int64), minlength=len(numbers))
        begins = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        # The sets of both sides of every pair, now with the number of the pair in the high bits. After one more sort, a
        # shingle that both passages have occurs twice in a row.
        both = []
        for side in (0, 1):
            counts = sizes[inverse[:, side]]
            pair = np.repeat(np.arange(len(pairs), dtype=np.uint64), counts)
            steps = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
            values = unique[np.repeat(begins[inverse[:, side]], counts) + steps]
            both.append((pair << HASH_BITS) | (values & ((np.uint64(1) << HASH_BITS) - np.uint64(1))))
        merged = np.sort(np.concatenate(both))
        shared = merged[1:][merged[1:] == merged[:-1]] >> HASH_BITS
        common = np.bincount(shared.astype(np.int64), minlength=len(pairs))
        similarity: NDArray[np.float64] = common / (sizes[inverse].sum(axis=1) - common)
        return similarity


def text_keys(texts: list[str], jaccard: float, words: bool) -> list[bytes]:
    """The band keys of each text, 8 bytes each. They depend on the text and the arguments of ``Deduplicator`` alone."""
    if not texts:
        return []
    number, rows = bands(jaccard)
    hashes, starts = shingles(texts, words)
    keys = band_keys(signatures(hashes, starts, number * rows), number, rows)
    return [row.tobytes() for row in keys.T]


def _parts(path: Path, leaders: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Numbers and keys of the remaining passages of a band, sorted by key, then by number, in parts of the key space.

    A passage has one key in a band, so what is decided in a part does not affect the others.
    """
    parts = -(-len(leaders) // KEYS)
    counts = np.zeros(parts, dtype=np.int64)
    for _, keys in _remaining(path, leaders):
        counts += np.bincount((keys % np.uint64(parts)).astype(np.int64), minlength=parts)
    ends = np.cumsum(counts)
    with tempfile.TemporaryFile(dir=path.parent, buffering=0) as file:
        places = (ends - counts).tolist()
        for numbers, keys in _remaining(path, leaders):
            part = (keys % np.uint64(parts)).astype(np.int64)
            order = np.argsort(part, kind="stable")
            pairs = np.stack((keys[order], numbers[order].astype(np.uint64)), axis=1)
            bounds = np.searchsorted(part[order], np.arange(parts + 1)).tolist()
            for number, (first, last) in enumerate(pairwise(bounds)):
                os.pwrite(file.fileno(), pairs[first:last].tobytes(), PAIR * places[number])
                places[number] += last - first
        file.seek(0)
        for size in counts.tolist():
            pairs = np.fromfile(file, dtype=np.uint64, count=2 * size).reshape(size, 2)
            order = np.argsort(pairs[:, 0], kind="stable")
            yield pairs[order, 1].astype(np.int64), pairs[order, 0]


def _remaining(path: Path, leaders: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Numbers and keys of the passages that are kept so far, in order, many at a time."""
    with open(path, "rb") as stream:
        start = 0
        while len(keys := np.fromfile(stream, dtype=np.uint64, count=KEYS)):
            kept = np.flatnonzero(leaders[start : start + len(keys)] < 0)
            yield kept + start, keys[kept]
            start += len(keys)
