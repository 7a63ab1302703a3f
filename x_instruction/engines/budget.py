"""Cost of tokens at the user's prices, and the budget of a run.

Prices come from the recipe only: price lists of servers change and are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from x_instruction.config.model import Model
from x_instruction.errors import BudgetReached


class SpendCounter(Protocol):
    """A sum that several processes add to."""

    @property
    def value(self) -> float:
        """The sum so far, over all processes."""

    def add(self, amount: float) -> None:
        """Add an amount that this process has spent."""


@dataclass(slots=True)
class LocalSpend:
    """The spend counter of a single process."""

    value: float = 0.0

    def add(self, amount: float) -> None:
        """Add an amount."""
        self.value += amount


class SharedSpend:
    """The spend counter of several processes of one machine.

    Each adds to an amount of its own, so none holds a lock, which would stay locked if it was killed.

    Args:
        amounts: of all processes, in memory that they share.
        own: position of the amount of this process.
        before: what was spent before.
    """

    def __init__(self, amounts: Any, own: int, before: float) -> None:
        self._amounts = amounts
        self._own = own
        self._before = before

    @property
    def value(self) -> float:
        """The sum so far."""
        return float(self._before + sum(self._amounts))

    def add(self, amount: float) -> None:
        """Add an amount that this process has spent."""
        self._amounts[self._own] += amount


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
        if self.model is not None:
            self.spent.add(cost(self.model, prompt_tokens, output_tokens))

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
