"""What a run has cost at the prices of the recipe, over all attempts and all shards, complete or not."""

from __future__ import annotations

from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.engines.budget import cost
from x_instruction.engines.request_cache import tokens_used
from x_instruction.errors import RecipeError
from x_instruction.pipeline.rounds import model_of, stages
from x_instruction.storage.run_folder import RunFolder


def priced(settings: Recipe) -> bool:
    """Whether the recipe has a price for any of its models."""
    return any(_price(model) for stage in stages(settings) if (model := model_of(settings, stage)) is not None)


def spent(run: RunFolder, settings: Recipe) -> float:
    """The cost of every request of the run so far. Shards that are not complete count, too."""
    total = 0.0
    for stage in stages(settings):
        model = model_of(settings, stage)
        if model is not None and _price(model):
            total += sum(cost(model, *tokens_used(path)) for path in run.caches(stage))
    return total


def check_budget(settings: Recipe, budget: float) -> None:
    """Refuse a budget that cannot be kept.

    Raises:
        RecipeError: the recipe has no prices, or the budget is not above 0.
    """
    if not budget > 0:
        raise RecipeError(f"--budget is {budget:g}, expected an amount above 0")
    if not priced(settings):
        raise RecipeError(
            "--budget needs prices: set prompt_price and output_price, for a million tokens each, in "
            "[generate.model.server] and [refine.model.server]"
        )


def _price(model: Model) -> float:
    return model.server.prompt_price + model.server.output_price
