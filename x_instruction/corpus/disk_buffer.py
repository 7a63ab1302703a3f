"""Passages on disk while they wait for a decision: written in order, read in order or by number."""

from __future__ import annotations

import bisect
import itertools
import marshal
import operator
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from x_instruction.records import Passage

_FIELDS = tuple(Passage.__dataclass_fields__)
_VALUES = operator.attrgetter(*_FIELDS)
_TEXT = _FIELDS.index("text")
_ID = _FIELDS.index("id")
# Lengths gathered before they are written, and bytes of records.
LENGTHS = 1 << 13
BUFFER = 1 << 20


class DiskBuffer:
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

    def __enter__(self) -> DiskBuffer:
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
        record = marshal.dumps(_VALUES(passage))
        self._records.write(record)
        self._offsets.write(self._end.to_bytes(8, "little"))
        self._end += len(record)
        self._count += 1

    def texts(self, numbers: Iterable[int]) -> list[str]:
        """Texts of the passages of these numbers, in their order."""
        return [record[_TEXT] for record in self._read(numbers)]

    def id(self, number: int) -> str:
        """Id of the passage of this number."""
        return next(self._read([number]))[_ID]

    def __iter__(self) -> Iterator[Passage]:
        self.flush()
        for first in range(0, self._count, LENGTHS):
            places = self._places(first, min(self._count, first + LENGTHS))
            number = 0
            while number < len(places) - 1:
                # As many records as fit the buffer, at least one, are read at once.
                last = max(number + 1, bisect.bisect_right(places, places[number] + BUFFER) - 1)
                base = places[number]
                block = memoryview(os.pread(self._records.fileno(), places[last] - base, base))
                for start, end in itertools.pairwise(places[number : last + 1]):
                    yield Passage(**dict(zip(_FIELDS, marshal.loads(block[start - base : end - base]), strict=True)))
                number = last

    def flush(self) -> None:
        """Write what waits in memory, so that it can be read."""
        self._records.flush()
        self._offsets.flush()

    def _places(self, first: int, last: int) -> list[int]:
        """Where the records of these numbers begin, and where the last ends."""
        found = np.frombuffer(os.pread(self._offsets.fileno(), 8 * (last + 1 - first), 8 * first), dtype="<u8").tolist()
        return found if last < self._count else [*found, self._end]

    def _read(self, numbers: Iterable[int]) -> Iterator[tuple[str, ...]]:
        self.flush()
        records = self._records.fileno()
        for number in numbers:
            start, end = self._places(number, number + 1)
            yield marshal.loads(os.pread(records, end - start, start))
