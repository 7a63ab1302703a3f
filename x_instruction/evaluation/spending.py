"""The budget of a command that asks a model outside of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from x_instruction.config.model import Model
from x_instruction.engines.budget import Budget, LocalSpend, cost
from x_instruction.engines.request_cache import tokens_used
from x_instruction.errors import RecipeError


def budget_for(model: Model, limit: float | None, caches: Iterable[Path]) -> Budget:
    """The budget that is left after all requests in these request caches.

    Raises:
        RecipeError: the limit is not above 0, or the model has no prices.
    """
    if limit is not None and not limit > 0:
        raise RecipeError(f"--budget is {limit:g}, expected an amount above 0")
    if limit is not None and not model.server.prompt_price + model.server.output_price:
        raise RecipeError(
            "--budget needs prices, for a million tokens each: pass --set server.prompt_price=... and "
            "--set server.output_price=..."
        )
    return Budget(limit, LocalSpend(spent(model, caches)), model)


def spent(model: Model, caches: Iterable[Path]) -> float:
    """The cost of all requests in these request caches; a cache that does not exist costs nothing."""
    return sum(cost(model, *tokens_used(path)) for path in caches if path.exists())
