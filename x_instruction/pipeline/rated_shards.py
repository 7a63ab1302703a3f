"""The rated shards of a language as one sequence of rows, of which few are in memory as records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from x_instruction.errors import ShardError
from x_instruction.records import Rated, from_row
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import EMBEDDED, ShardKey

if TYPE_CHECKING:
    import pyarrow as pa

# Records that are in memory at once: about 100 MB.
_BLOCK = 32_768


class RatedShards:
    """Rated shards of one language. A row is known by its position over all of them.

    Args:
        run: the run folder.
        keys: the shards, in order.
        names: the columns to read.
    """

    def __init__(self, run: RunFolder, keys: Sequence[ShardKey], names: Sequence[str]) -> None:
        import pyarrow as pa

        self.run = run
        self.keys = keys
        parts = [run.columns(key, names) for key in keys]
        self.table: pa.Table = pa.concat_tables(parts)
        # Position of the first row of each shard, and the number of rows.
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    def records(self, positions: Sequence[int]) -> Iterator[Rated]:
        """The records at positions, in the order of the positions."""
        for start in range(0, len(positions), _BLOCK):
            block = np.asarray(positions[start : start + _BLOCK])
            shards = np.searchsorted(self._starts, block, side="right") - 1
            found: dict[int, Rated] = {}
            for shard in np.unique(shards).tolist():
                within = block[shards == shard]
                rows = self.run.columns(self.keys[shard]).take(within - self._starts[shard]).to_pylist()
                found |= zip(within.tolist(), (from_row(Rated, row) for row in rows), strict=True)
            yield from (found[position] for position in block.tolist())

    def embeddings(self, positions: npt.NDArray[np.intp], file: IO[bytes]) -> npt.NDArray[np.float32]:
        """The embeddings of the rows at positions, from the embedded shards, ``(n, d)``.

        Args:
            positions: distinct positions.
            file: an empty file that is mapped into memory and holds them.

        Raises:
            ShardError: an embedded shard has other rows than its rated one.
        """
        row_of = np.full(self._starts[-1], -1, dtype=np.intp)
        row_of[positions] = np.arange(len(positions))
        matrix: npt.NDArray[np.float32] | None = None
        for key, start, end in zip(self.keys, self._starts, self._starts[1:], strict=False):
            shard = self.run.columns(key.at(EMBEDDED))
            rated = self.table.slice(start, end - start)
            if not all(shard[name].equals(rated[name]) for name in ("id", "candidate")):
                raise ShardError(
                    f"{key.at(EMBEDDED)} has other rows than {key}: remove it and run the same command again"
                )
            rows = row_of[start:end]
            vectors = np.frombuffer(b"".join(shard["vector"].to_pylist()), dtype="<f4").reshape(end - start, -1)
            if matrix is None and len(vectors) and len(positions):
                matrix = np.memmap(file, np.float32, "w+", shape=(len(positions), vectors.shape[1]))
            if matrix is not None:
                matrix[rows[rows >= 0]] = vectors[rows >= 0]
        return np.empty((0, 0), dtype=np.float32) if matrix is None else matrix
