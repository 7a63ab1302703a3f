"""A temporary store of passages on disk: appended in order, read in order or by number."""

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
# Offsets read or buffered at once, and bytes of records.
LENGTHS = 1 << 13
BUFFER = 1 << 20


class DiskBuffer:
    """Passages by number, from 0. Memory does not grow with their number.

    Args:
        folder: folder of its two files, which ``close`` removes.
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
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close and remove the files."""
        for stream, path in zip((self._records, self._offsets), self._paths, strict=True):
            stream.close()
            path.unlink(missing_ok=True)

    def add(self, passage: Passage) -> None:
        """Append a passage."""
        record = marshal.dumps(_VALUES(passage))
        self._records.write(record)
        self._offsets.write(self._end.to_bytes(8, "little"))
        self._end += len(record)
        self._count += 1

    def texts(self, numbers: Iterable[int]) -> list[str]:
        """Texts of the passages with these numbers, in the given order."""
        return [record[_TEXT] for record in self._read(numbers)]

    def id(self, number: int) -> str:
        """Id of the passage with this number."""
        return next(self._read([number]))[_ID]

    def __iter__(self) -> Iterator[Passage]:
        self.flush()
        for first in range(0, self._count, LENGTHS):
            offsets = self._record_offsets(first, min(self._count, first + LENGTHS))
            number = 0
            while number < len(offsets) - 1:
                # Read as many records at once as fit into the buffer, and at least one.
                last = max(number + 1, bisect.bisect_right(offsets, offsets[number] + BUFFER) - 1)
                base = offsets[number]
                block = memoryview(os.pread(self._records.fileno(), offsets[last] - base, base))
                for start, end in itertools.pairwise(offsets[number : last + 1]):
                    yield Passage(**dict(zip(_FIELDS, marshal.loads(block[start - base : end - base]), strict=True)))
                number = last

    def flush(self) -> None:
        """Write buffered data to the files, so that it can be read."""
        self._records.flush()
        self._offsets.flush()

    def _record_offsets(self, first: int, last: int) -> list[int]:
        """Offsets of the records ``first`` to ``last - 1``, then the offset of the end of the last."""
        offsets = np.frombuffer(
            os.pread(self._offsets.fileno(), 8 * (last + 1 - first), 8 * first), dtype="<u8"
        ).tolist()
        return offsets if last < self._count else [*offsets, self._end]

    def _read(self, numbers: Iterable[int]) -> Iterator[tuple[str, ...]]:
        self.flush()
        records = self._records.fileno()
        for number in numbers:
            start, end = self._record_offsets(number, number + 1)
            yield marshal.loads(os.pread(records, end - start, start))
