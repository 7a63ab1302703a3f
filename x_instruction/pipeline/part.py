"""One part of a run: the shards that one of several processes makes, on one machine or on many."""

from __future__ import annotations

from dataclasses import dataclass

from x_instruction.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Part:
    """The shards whose number modulo ``of`` is ``rank``. Shards are numbered per stage, over all languages.

    Args:
        rank: which part, from 0.
        of: the number of parts; 1 is a whole run.

    Raises:
        RecipeError: ``of`` is below 1, or ``rank`` is not below ``of``.
    """

    rank: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if self.of < 1:
            raise RecipeError(f"of is {self.of}, expected 1 or more")
        if not 0 <= self.rank < self.of:
            last = self.of - 1
            expected = f"0 to {last}" if last else "0"
            raise RecipeError(f"rank is {self.rank}, expected {expected} with --of {self.of}")

    @property
    def whole(self) -> bool:
        """Whether this is all of the run."""
        return self.of == 1

    @property
    def makes_models(self) -> bool:
        """Whether this part trains the models of the run, which all parts use."""
        return self.rank == 0

    def has(self, number: int) -> bool:
        """Whether the shard of this number belongs to the part."""
        return number % self.of == self.rank

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.of}"


WHOLE = Part()
