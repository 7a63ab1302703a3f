"""Passages on disk while they wait for a decision: written in order, read in order or by number."""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from x_instruction.records import Passage

_FIELDS = tuple(Passage.__dataclass_fields__)
_TEXT = _FIELDS.index("text")
_ID = _FIELDS.index("id")
# Lengths gathered before they are written, and bytes of records.
LENGTHS = 1 << 13
BUFFER = 1 << 20


class Spool:
    """Passages by number, from 0; memory does not grow with their number.

    Args:
        folder: where its two files go; they are removed on closing.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = (folder / "passages.spool", folder / "offsets.spool")
        self._records = open(self._paths[0], "w+b", buffering=BUFFER)  # noqa: SIM115
        self._offsets = open(self._paths[1], "w+b", buffering=8 * LENGTHS)  # noqa: SIM115
        self._end = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close and remove the files."""
        for stream, path in zip((self._records, self._offsets), self._paths, strict=True):
            stream.close()
            path.unlink(missing_ok=True)

    def add(self, passage: Passage) -> None:
        """Write one more passage."""
        record = marshal.dumps(tuple(getattr(passage, name) for name in _FIELDS))
        self._records.write(record)
        self._offsets.write(self._end.to_bytes(8, "little"))
        self._end += len(record)
        self._count += 1

    def texts(self, numbers: Iterable[int]) -> list[str]:
        """Texts of the passages of these numbers."""
        return [record[_TEXT] for record in self._read(numbers)]

    def ids(self, numbers: Iterable[int]) -> list[str]:
        """Ids of the passages of these numbers."""
        return [record[_ID] for record in self._read(numbers)]

    def __iter__(self) -> Iterator[Passage]:
        self._records.flush()
        with open(self._paths[0], "rb", buffering=BUFFER) as stream:
            for _ in range(self._count):
                yield Passage(**dict(zip(_FIELDS, marshal.load(stream), strict=True)))

    def _read(self, numbers: Iterable[int]) -> Iterator[tuple[str, ...]]:
        self._records.flush()
        self._offsets.flush()
        wanted = np.fromiter(numbers, dtype=np.int64)
        records, offsets = self._records.fileno(), self._offsets.fileno()
        for number in wanted.tolist():
            place = os.pread(offsets, 16, 8 * number)
            start = int.from_bytes(place[:8], "little")
            end = int.from_bytes(place[8:], "little") if len(place) == 16 else self._end
            yield marshal.loads(os.pread(records, end - start, start))
