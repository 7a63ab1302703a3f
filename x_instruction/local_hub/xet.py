"""The Xet formats: chunks in xorbs, and shards that say which chunks make a file.

A file of a repository is put together as soon as its shard is there, and kept as a large file like any other; a file of
a bucket when a batch names it. Xorbs stay while the server runs, because a client refers later to chunks that it sent
before. The formats are those of the Hub's Xet specification: shards of 48-byte records, xorbs of chunks with 8-byte
headers, compressed by LZ4.

Only files of buckets are read by Xet. Their xorbs are made up as they are read: chunks of one size, uncompressed.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any, NamedTuple

import lz4.frame

from x_instruction.local_hub.lfs import LargeFiles
from x_instruction.local_hub.refused import Refused
from x_instruction.storage.atomic import open_plain, rename_into_place

MAX_XORB = 80 << 20
MAX_SHARD = 80 << 20
# Of the xorbs that are made up for reading.
MADE_CHUNK = 1 << 16
MADE_XORB = 1 << 24
_RECORD = 48
_BOOKEND = b"\xff" * 32
_VERIFIED = 1 << 31
_SHA256 = 1 << 30
_MAX_CHUNK = 1 << 20
# Clients put at most 8,192 chunks into a xorb.
_MAX_CHUNKS = 1 << 16


class Term(NamedTuple):
    """A run of chunks of one xorb."""

    xorb: str
    size: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A file of a shard: its Xet hash, its SHA-256 unless it is for a bucket, and the chunks that make it."""

    hash: str
    sha256: str | None
    terms: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(term.size for term in self.terms)


class Chunk(NamedTuple):
    """The position of a chunk in its xorb, and its compression."""

    at: int
    packed: int
    scheme: int
    size: int


def hex_hash(raw: bytes) -> str:
    """A hash as the protocol writes it: four little-endian words."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def files_of(shard: bytes) -> Iterator[Rebuilt]:
    """The files that a shard describes.

    Raises:
        Refused: 400, it is damaged.
    """
    at = _RECORD
    while True:
        head = _record(shard, at)
        if head[:32] == _BOOKEND:
            return
        flags, count = struct.unpack_from("<II", head, 32)
        terms = []
        for number in range(count):
            record = _record(shard, at + _RECORD * (1 + number))
            _, size, start, end = struct.unpack_from("<4I", record, 32)
            terms.append(Term(hex_hash(record[:32]), size, start, end))
        at += _RECORD * (1 + count * (2 if flags & _VERIFIED else 1))
        sha256 = None
        if flags & _SHA256:
            sha256 = hex_hash(_record(shard, at)[:32])
            at += _RECORD
        yield Rebuilt(hex_hash(head[:32]), sha256, tuple(terms))


def _record(shard: bytes, at: int) -> bytes:
    record = shard[at : at + _RECORD]
    if len(record) < _RECORD:
        raise Refused(400, "the shard ends before its files do")
    return record


def chunks_of(xorb: bytes | mmap) -> list[Chunk]:
    """The chunks of a xorb, up to its footer if it has one.

    Raises:
        Refused: 400, it is damaged.
    """
    found, at = list[Chunk](), 0
    while at < len(xorb) and xorb[at] == 0:
        if at + 8 > len(xorb):
            raise Refused(400, "the xorb ends within a chunk")
        packed, size = int.from_bytes(xorb[at + 1 : at + 4], "little"), int.from_bytes(xorb[at + 5 : at + 8], "little")
        if at + 8 + packed > len(xorb) or size > _MAX_CHUNK:
            raise Refused(400, "the xorb ends within a chunk, or a chunk is too large")
        if len(found) == _MAX_CHUNKS:
            raise Refused(400, f"the xorb has more than {_MAX_CHUNKS} chunks")
        found.append(Chunk(at + 8, packed, xorb[at + 4], size))
        at += 8 + packed
    if not found:
        raise Refused(400, "the xorb has no chunks")
    return found


def unpack(data: bytes, scheme: int, size: int) -> bytes:
    """The bytes of a chunk.

    Raises:
        Refused: 400, they are others than announced.
    """
    try:
        plain = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1) if scheme in (1, 2) else data
    except RuntimeError as error:
        raise Refused(400, f"a chunk cannot be unpacked: {error}") from error
    if len(plain) != size or scheme > 2:
        raise Refused(400, "a chunk is not what its header says")
    return _ungrouped(plain) if scheme == 2 else plain


def _ungrouped(data: bytes) -> bytes:
    """Undo the grouping of every fourth byte."""
    out, at = bytearray(len(data)), 0
    for lane in range(4):
        length = (len(data) - lane + 3) // 4
        out[lane::4] = data[at : at + length]
        at += length
    return bytes(out)


class Xorbs:
    """The xorbs of one store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, stream: IO[bytes]) -> None:
        """Keep a xorb that was written to a temporary file.

        Raises:
            Refused: 400, not the name of a xorb, or damaged.
        """
        stream.flush()
        if not stream.tell():
            raise Refused(400, "the xorb is empty")
        with open(stream.name, "rb") as written, mmap(written.fileno(), 0, access=ACCESS_READ) as xorb:
            chunks_of(xorb)
        rename_into_place(stream, self._path(name))

    def _path(self, name: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", name):
            raise Refused(400, f"{name!r} is not the hash of a xorb")
        return self._folder / name[:2] / name

    def _read(self, name: str) -> mmap:
        try:
            with open_plain(self._path(name)) as stream:
                return mmap(stream.fileno(), 0, access=ACCESS_READ)
        except FileNotFoundError:
            raise Refused(400, f"the shard names the xorb {name}, which was not uploaded") from None

    def rebuild(self, files: list[Rebuilt], large: LargeFiles, most: int) -> None:
        """Put files of a repository together that are not there yet.

        Args:
            files: what to make.
            large: where they are kept.
            most: bytes that one may have.
        """
        for file in files:
            if file.size > most:
                raise Refused(413, f"a file has at most {most} bytes, not {file.size}")
            if file.sha256 is None:
                raise Refused(400, "a file of the shard has no SHA-256, which a repository needs")
            if large.size(file.sha256) is not None:
                continue
            with large.receive(file.sha256) as receiving:
                for piece in self.pieces(file):
                    receiving.write(piece)
                receiving.finish(file.size)

    def pieces(self, file: Rebuilt) -> Iterator[bytes]:
        """The content of a file, chunk by chunk.

        Raises:
            Refused: 400, its chunks were not uploaded, or are others than the shard says.
        """
        name, chunks = "", list[Chunk]()
        xorb: mmap | None = None
        for term in file.terms:
            if term.xorb != name:
                name, xorb = term.xorb, self._read(term.xorb)
                chunks = chunks_of(xorb)
            if xorb is None or not 0 <= term.start < term.end <= len(chunks):
                raise Refused(400, f"the shard names chunks that the xorb {name} does not have")
            run = chunks[term.start : term.end]
            # The file's size was judged by these numbers, so the chunks may not be larger.
            if (whole := sum(chunk.size for chunk in run)) != term.size:
                raise Refused(400, f"the shard says {term.size} bytes, but these chunks have {whole}")
            for chunk in run:
                yield unpack(xorb[chunk.at : chunk.at + chunk.packed], chunk.scheme, chunk.size)


def reconstruction(name: str, size: int, begin: int, end: int, address: Callable[[int], str]) -> dict[str, Any]:
    """What to fetch for a range of a file, as the protocol says it: xorbs of chunks, and their addresses.

    Args:
        name: the file's hash.
        size: bytes of the file.
        begin: first byte of the range.
        end: byte after the last one.
        address: of one of the file's made-up xorbs, by number.
    """
    terms, fetch = list[dict[str, Any]](), dict[str, list[dict[str, Any]]]()
    for number in range(begin // MADE_XORB, -(-end // MADE_XORB)):
        offset = number * MADE_XORB
        first = max(0, begin - offset) // MADE_CHUNK
        length = min(MADE_XORB, size - offset)
        last = -(-min(end - offset, length) // MADE_CHUNK)
        span = {"start": first, "end": last}
        packed = {"start": first * (8 + MADE_CHUNK), "end": min(last * MADE_CHUNK, length) + 8 * last - 1}
        xorb = hashlib.sha256(f"{name}/{number}".encode()).hexdigest()
        unpacked = min(last * MADE_CHUNK, length) - first * MADE_CHUNK
        terms.append({"hash": xorb, "unpacked_length": unpacked, "range": span})
        fetch[xorb] = [{"range": span, "url": address(number), "url_range": packed}]
    return {"offset_into_first_range": begin % MADE_CHUNK, "terms": terms, "fetch_info": fetch}


def made_xorb(data: bytes) -> bytes:
    """A xorb of the bytes of a file, in chunks of one size without compression."""
    parts = []
    for at in range(0, len(data), MADE_CHUNK):
        chunk = data[at : at + MADE_CHUNK]
        length = len(chunk).to_bytes(3, "little")
        parts += [b"\0", length, b"\0", length, chunk]
    return b"".join(parts)
