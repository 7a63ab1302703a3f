"""Shards in blocks of passages: a stage that asks a model holds one block at a time, whatever the size of the shard.

A shard of up to ``PASSAGES`` passages is one block. The records of a stage are in the order of the blocks, so those of
an earlier stage are read once, as a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from x_instruction.errors import ShardError
from x_instruction.records import Passage

# Passages in a block. Another number makes other batches, and so other digits.
PASSAGES = 2_000

AnyPassage = TypeVar("AnyPassage", bound=Passage)


def split(passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    """The passages of a shard in blocks."""
    stream = iter(passages)
    while block := list(islice(stream, PASSAGES)):
        yield block


class Aligned(Generic[AnyPassage]):
    """The records of a later stage of a shard, taken block by block.

    Args:
        records: the records, in order of the blocks of their passages.
        name: of their shard, for messages.
    """

    def __init__(self, records: Iterator[AnyPassage], name: object) -> None:
        self._records = records
        self._name = name
        self._next = next(records, None)

    def of(self, passages: Iterable[Passage]) -> list[AnyPassage]:
        """The records of a block. Blocks are asked for in order."""
        ids = {passage.id for passage in passages}
        found: list[AnyPassage] = []
        while self._next is not None and self._next.id in ids:
            found.append(self._next)
            self._next = next(self._records, None)
        return found

    def end(self) -> None:
        """Check that every record belonged to a block.

        Raises:
            ShardError: one did not.
        """
        if self._next is not None:
            raise ShardError(
                f"{self._name} has a row of {self._next.id} that does not follow the order of its passages: remove it "
                "and run the same command again"
            )
