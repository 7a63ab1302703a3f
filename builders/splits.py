"""Which split a document belongs to: decided by its id alone, so that no document is ever in two splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from x_instruction.config.recipe import Recipe

# The order in which splits are listed and written.
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Shares:
    """Share of documents in each split; the rest is ``train``.

    Args:
        validation, test: shares, 0 to 1.
        seed: another seed draws other documents.
    """

    validation: float = 0.0
    test: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, settings: Recipe) -> Shares:
        """The shares that a recipe asks for."""
        return cls(settings.publish.validation, settings.publish.test, settings.seed)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that can hold anything."""
        held = {"train": True, "validation": self.validation > 0, "test": self.test > 0}
        return tuple(split for split in SPLITS if held[split])


def split_of(document_id: str, shares: Shares) -> str:
    """The split of a document.

    The language is left out on purpose: a document that exists in two languages under one id lands in the same split
    of both, so neither gives the other's test set away. A larger share keeps what a smaller one held in ``test``.
    """
    key = f"{shares.seed}\0{document_id}".encode("utf-8", "surrogatepass")
    place = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64
    if place < shares.test:
        return "test"
    if place < shares.test + shares.validation:
        return "validation"
    return "train"
