"""The split of a document, decided by its id alone, so that no document is in two splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from x_instruction.config.recipe import Recipe

if TYPE_CHECKING:
    import pyarrow as pa

# The order in which splits are listed and written.
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Shares:
    """Share of documents in each split. The rest is ``train``.

    Args:
        validation, test: Shares, 0 to 1.
        seed: Random seed of the assignment.
    """

    validation: float = 0.0
    test: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, settings: Recipe) -> Shares:
        """The shares of a recipe."""
        return cls(settings.publish.validation, settings.publish.test, settings.seed)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that can have rows."""
        possible = {"train": True, "validation": self.validation > 0, "test": self.test > 0}
        return tuple(split for split in SPLITS if possible[split])


def parts(rows: pa.Table, shares: Shares) -> dict[str, pa.Table]:
    """Published rows by split, in their order; splits without any are left out."""
    import pyarrow as pa

    if len(shares.splits) == 1:
        return {shares.splits[0]: rows}
    splits = [split_of(document, shares) for document in rows["document_id"].to_pylist()]
    masks = {split: pa.array([other == split for other in splits]) for split in shares.splits if split in splits}
    return {split: rows.filter(mask) for split, mask in masks.items()}


def split_of(document_id: str, shares: Shares) -> str:
    """The split of a document.

    The language does not count: a document with the same id in two languages is in the same split of both, so that
    neither leaks the test set of the other. A larger test share contains the test set of a smaller one.
    """
    key = f"{shares.seed}\0{document_id}".encode("utf-8", "surrogatepass")
    position = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64
    if position < shares.test:
        return "test"
    if position < shares.test + shares.validation:
        return "validation"
    return "train"
