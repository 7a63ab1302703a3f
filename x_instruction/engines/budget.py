"""Cost of tokens at the user's prices, and the budget of a run.

Prices come from the recipe only: price lists of servers change and are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from x_instruction.config.model import Model
from x_instruction.errors import BudgetReached


class SpendCounter(Protocol):
    """A number that several processes can add to, such as ``multiprocessing.Value("d")``."""

    value: float


@dataclass(slots=True)
class LocalSpend:
    """The spend counter of a single process."""

    value: float = 0.0


def cost(model: Model, prompt_tokens: int, output_tokens: int) -> float:
    """Cost of tokens in the currency of the recipe's prices; 0 without prices."""
    server = model.server
    return (prompt_tokens * server.prompt_price + output_tokens * server.output_price) / 1_000_000


class Budget:
    """The budget that is left.

    Args:
        limit: once this much is spent, no more requests are sent; None for no limit.
        spent: amount spent so far by all processes of the run.
        model: the model whose prices apply; None counts nothing.
    """

    def __init__(
        self, limit: float | None = None, spent: SpendCounter | None = None, model: Model | None = None
    ) -> None:
        self.limit = limit
        self.spent = spent if spent is not None else LocalSpend()
        self.model = model

    def add(self, prompt_tokens: int, output_tokens: int) -> None:
        """Add the cost of one answer."""
        if self.model is None:
            return
        lock = getattr(self.spent, "get_lock", None)
        if lock is None:
            self.spent.value += cost(self.model, prompt_tokens, output_tokens)
        else:
            with lock():
                self.spent.value += cost(self.model, prompt_tokens, output_tokens)

    def left(self) -> bool:
        """Whether more requests may be sent."""
        return self.limit is None or self.spent.value < self.limit

    def check(self) -> None:
        """Raise if the budget is spent.

        Raises:
            BudgetReached: names the amount spent. Answers received so far are kept.
        """
        if not self.left():
            raise BudgetReached(
                f"the budget of {self.limit:g} is reached ({self.spent.value:.4f} spent). All answers are kept: "
                "run the same command with a larger --budget to continue"
            )
