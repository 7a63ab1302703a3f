"""The rated rows of one language as columns: what the selection reads of them, about 300 bytes per row.

A record has ten times as much. Of instructions that differ only in case and white space, the one with the best score is
kept. A row without a finite score cannot be ranked, and is dropped, so that one bad row does not stop a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from x_instruction.records import Dropped, Rated, dropped

if TYPE_CHECKING:
    import pyarrow as pa

# The columns of rated records that are read, in the order by which rows are sorted, and then the others.
COLUMNS = ("id", "candidate", "round", "instruction", "score", "url")
_SORTED_BY = COLUMNS[:4]
# Texts taken out of a column at once.
_BLOCK = 4_096
_DIGEST = np.dtype([("low", "<u8"), ("high", "<u8")])

Rows = npt.NDArray[np.intp]


class RatedRows:
    """Rated rows of one language, sorted by name.

    Args:
        table: ``COLUMNS`` of the rows, in any order.

    Attributes:
        source: position in the table of each row, ``(n,)``.
        scores: their scores, ``(n,)``.
        kept: the rows that are left when duplicates and rows without a score are dropped, ``(k,)``, sorted.
        keys: digest of the instruction of each kept row, ``(k,)``: 64 bits, equal for instructions that count as equal.
    """

    def __init__(self, table: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        # 32-bit offsets of strings end at 2 GiB of text.
        wide = pa.schema([f.with_type(pa.large_string()) if f.type == pa.string() else f for f in table.schema])
        table = table.select(COLUMNS).cast(pa.schema([wide.field(name) for name in COLUMNS]))
        order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in _SORTED_BY])
        self.source: Rows = order.to_numpy().astype(np.intp)
        self._columns = table.take(order).combine_chunks()
        self.scores: npt.NDArray[np.float64] = self._columns["score"].to_numpy()
        digests = self._digests()
        self._first = _first_of_equals(digests, self.scores)
        self.kept: Rows = np.flatnonzero(self._first == np.arange(len(self)))
        self.keys: npt.NDArray[np.uint64] = digests["low"][self.kept]

    def __len__(self) -> int:
        return len(self.source)

    @classmethod
    def of(cls, records: Sequence[Rated]) -> RatedRows:
        """The rows of records of one language, in any order."""
        import pyarrow as pa

        types = dict(
            zip(COLUMNS, (pa.string(), pa.int32(), pa.int32(), pa.string(), pa.float64(), pa.string()), strict=True)
        )
        return cls(pa.table({n: pa.array([getattr(r, n) for r in records], types[n]) for n in COLUMNS}))

    def texts(self, column: str, rows: Rows) -> Iterator[str]:
        """A text column of some rows, in their order."""
        for start in range(0, len(rows), _BLOCK):
            yield from self._columns[column].take(rows[start : start + _BLOCK]).to_pylist()

    def name(self, row: int) -> str:
        """Name of a row among dropped rows, as in refinement."""
        return f"{self._value('id', row)}-{self._value('candidate', row)}"

    def drop(self, row: int, reason: str, detail: str) -> Dropped:
        """The row as a dropped one."""
        return dropped(self.name(row), reason, detail, self._value("instruction", row))

    def duplicates(self) -> Iterator[Dropped]:
        """The rows without a score, and those whose instruction another row has, in order."""
        for row in np.flatnonzero(self._first != np.arange(len(self))).tolist():
            first, score = int(self._first[row]), float(self.scores[row])
            if first < 0:
                yield self.drop(row, "no_score", str(score))
            else:
                detail = f"{score:.3f}, same as {self.name(first)} with {self.scores[first]:.3f}"
                yield self.drop(row, "duplicate_instruction", detail)

    def _value(self, column: str, row: int) -> Any:
        return self._columns[column].chunk(0)[row].as_py()

    def _digests(self) -> npt.NDArray[Any]:
        """Digest of the instruction of each row, 128 bits."""
        joined = bytearray()
        for text in self.texts("instruction", np.arange(len(self))):
            joined += hashlib.blake2b(instruction_key(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return np.frombuffer(bytes(joined), dtype=_DIGEST)


def _first_of_equals(digests: npt.NDArray[Any], scores: npt.NDArray[np.float64]) -> Rows:
    """For each row, the row that is kept for its instruction: the best score, and of equal ones the first. -1 without.

    Rows are sorted by digest, so equal ones are adjacent, whatever shard they come from.
    """
    rows = np.flatnonzero(np.isfinite(scores))
    order = rows[np.lexsort((rows, -scores[rows], digests["high"][rows], digests["low"][rows]))]
    new = np.ones(len(order), dtype=bool)
    new[1:] = digests[order[1:]] != digests[order[:-1]]
    starts = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    first: Rows = np.full(len(scores), -1, dtype=np.intp)
    first[order] = order[starts]
    return first


def instruction_key(instruction: str) -> str:
    """Key of an instruction for deduplication: case and white space are ignored."""
    return " ".join(instruction.casefold().split())
