"""What a run has made: rows, drops, seconds and tokens by stage and language, over all attempts."""

from __future__ import annotations

from dataclasses import dataclass, field

from x_instruction.config.recipe import Recipe
from x_instruction.engines.budget import cost
from x_instruction.pipeline.costs import priced, spent
from x_instruction.pipeline.rounds import model_of, stages
from x_instruction.records import STAGES
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, PASSAGE, StageKey

_SUMS = ("rows_in", "kept", "requests", "requests_sent", "seconds", "prompt_tokens", "output_tokens", "cost")


@dataclass(slots=True)
class Total:
    """Sums over the shards of one language at one stage.

    Args:
        stage: ``passage``, ``candidate``, ``rated`` or ``curated``.
        round: of refinement, from 0.
        shards: complete shards; ``expected`` is None while their number is not known.
        seconds: over all attempts.
    """

    stage: str
    round: int
    language: str
    shards: int = 0
    expected: int | None = None
    rows_in: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    requests_sent: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


def totals(run: RunFolder, settings: Recipe | None = None) -> list[Total]:
    """Sums by stage and language, in the order of the stages.

    Args:
        run: the run folder.
        settings: the recipe, whose prices give the costs. Without it, costs are those of the reports, and rounds after
            the first are left out.
    """
    sums: list[Total] = []
    for stage in stages(settings) if settings is not None else map(StageKey, STAGES):
        by_language: dict[str, Total] = {}
        for report in run.reports(stage):
            tag = report.key.language
            total = by_language.setdefault(tag, Total(stage.stage, stage.round, tag))
            total.shards += 1
            for name in _SUMS:
                setattr(total, name, getattr(total, name) + getattr(report, name))
            for reason, number in report.dropped.items():
                total.dropped[reason] = total.dropped.get(reason, 0) + number
        for tag, total in by_language.items():
            if settings is not None and (model := model_of(settings, stage)) is not None:
                total.cost = cost(model, total.prompt_tokens, total.output_tokens)
            total.expected = run.count(PASSAGE, tag) if stage != CURATED else 1
        sums += by_language.values()
    return sums


def spending(run: RunFolder, settings: Recipe, summed: list[Total]) -> list[str]:
    """The cost of the run as a line; none without prices.

    Args:
        run: the run folder.
        settings: the recipe.
        summed: the sums over complete shards, with their costs.
    """
    if not priced(settings):
        return []
    total = spent(run, settings)
    open_cost = total - sum(t.cost for t in summed)
    # A smaller difference is the rounding of a sum.
    incomplete = open_cost > 1e-9 * max(1.0, total)
    more = f", {money(open_cost)} of it for shards that are not complete" if incomplete else ""
    return [f"spent: {money(total)}{more}"]


def money(amount: float) -> str:
    """An amount in the currency of the prices, with more digits for small amounts."""
    return f"{amount:,.2f}" if amount >= 100 else f"{amount:.4f}"


def short_number(number: float) -> str:
    """A number in at most six characters, such as ``1,024``, ``34.1k`` or ``1.25M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e3 if unit == "k" else size)
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{number:,.0f}"
