"""What a run's folder holds: rows, drops, seconds and tokens by stage and language, over all attempts."""

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
        settings: whose prices the costs are reckoned with; as the reports have them when None.
    """
    found: list[Total] = []
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
        found += by_language.values()
    return found


def table(found: list[Total]) -> str:
    """The sums as a plain text table; with a column of costs where there are any."""
    header = ["stage", "language", "shards", "in", "kept", "seconds", "requests", "tokens in", "tokens out"]
    priced = any(t.cost for t in found)
    rows = [[*header, *(["cost"] if priced else []), "dropped"]]
    for t in found:
        reasons = ", ".join(f"{k} {v:,}" for k, v in sorted(t.dropped.items(), key=lambda i: (-i[1], i[0]))[:3])
        rows.append(
            [
                str(StageKey(t.stage, t.round)),
                t.language,
                f"{t.shards}/{'?' if t.expected is None else t.expected}",
                f"{t.rows_in:,}",
                f"{t.kept:,}",
                f"{t.seconds:,.1f}",
                f"{t.requests:,}",
                f"{t.prompt_tokens:,}",
                f"{t.output_tokens:,}",
                *([money(t.cost) if t.cost else "-"] if priced else []),
                reasons + (", …" if len(t.dropped) > 3 else ""),
            ]
        )
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last + 1)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 1, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def spending(run: RunFolder, settings: Recipe, found: list[Total]) -> list[str]:
    """What the run has cost in all, as a line; none without prices.

    Args:
        found: the sums of complete shards, with costs.
    """
    if not priced(settings):
        return []
    total = spent(run, settings)
    rest = total - sum(t.cost for t in found)
    # Less than this is a sum's rounding.
    more = f", {money(rest)} of it for shards that are not complete" if rest > 1e-9 * max(1.0, total) else ""
    return [f"spent: {money(total)}{more}"]


def money(amount: float) -> str:
    """An amount in the currency of the recipe's prices: cents of large ones, more of small ones."""
    return f"{amount:,.2f}" if amount >= 100 else f"{amount:.4f}"
