"""Money: what a model's tokens cost by the user's own prices, and how much a run may spend.

Prices are never guessed: a server's price list is not known here and changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from x_instruction.config.model import Model
from x_instruction.errors import BudgetReached


class SpendCounter(Protocol):
    """A number that several processes add to, such as ``multiprocessing.Value("d")``."""

    value: float


@dataclass(slots=True)
class LocalSpend:
    """A purse of one process."""

    value: float = 0.0


def cost(model: Model, prompt_tokens: int, output_tokens: int) -> float:
    """What tokens cost, in the currency of the recipe's prices; 0 without prices."""
    server = model.server
    return (prompt_tokens * server.prompt_price + output_tokens * server.output_price) / 1_000_000


class Budget:
    """What may still be spent.

    Args:
        limit: nothing is sent any more once this much is spent; None for no limit.
        purse: what was spent so far, by all processes of the run.
        model: whose prices count.
    """

    def __init__(
        self, limit: float | None = None, spent: SpendCounter | None = None, model: Model | None = None
    ) -> None:
        self.limit = limit
        self.spent = spent if spent is not None else LocalSpend()
        self.model = model

    def add(self, prompt_tokens: int, output_tokens: int) -> None:
        """Count one answer."""
        if self.model is None:
            return
        lock = getattr(self.spent, "get_lock", None)
        if lock is None:
            self.spent.value += cost(self.model, prompt_tokens, output_tokens)
        else:
            with lock():
                self.spent.value += cost(self.model, prompt_tokens, output_tokens)

    def left(self) -> bool:
        """Whether more may be sent."""
        return self.limit is None or self.spent.value < self.limit

    def check(self) -> None:
        """Refuse when the money is spent.

        Raises:
            BudgetReached: says how much was spent; what was answered is kept.
        """
        if not self.left():
            raise BudgetReached(
                f"the budget of {self.limit:g} is reached ({self.spent.value:.4f} spent): what was answered is kept; "
                "run the same command with a larger --budget to go on"
            )
