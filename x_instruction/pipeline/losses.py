"""Stages that kept no row of a language, or dropped nearly all for one reason.

A run with such a stage is complete and its shards are usable, so this is a warning and no error. It is found from the
reports of shards, so that a finished run that is run again says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from x_instruction.config.recipe import Recipe
from x_instruction.pipeline.rounds import stages, title
from x_instruction.pipeline.status import Total, totals
from x_instruction.records import Dropped
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

# A larger share of rows dropped for one reason is reported.
MOST = 0.9
# Reasons that a setting of the recipe asks for: a limit, the number of candidates to keep, the quota and its caps.
CHOSEN = frozenset({"passage_limit", "not_best", "over_quota", "domain_cap", "verb_cap"})
# Characters of an example.
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Loss:
    """What a stage lost of one language.

    Args:
        stage: the stage and its round.
        language: tag of the language.
        kept: rows that the stage kept.
        rows: rows that the stage kept or dropped.
        reason: the most frequent reason to drop a row; empty if the stage had no rows.
        dropped: rows that were dropped for this reason.
        example: the first of them.
    """

    stage: StageKey
    language: str
    kept: int
    rows: int
    reason: str
    dropped: int
    example: Dropped | None

    def __str__(self) -> str:
        name = f"{title(self.stage)}, {self.language}: kept {self.kept:,} of {self.rows:,} rows"
        if not self.reason:
            return name
        line = f"{name}, dropped {self.dropped:,} as {self.reason}"
        if self.example is None:
            return line
        detail = f" ({short(self.example.detail)})" if self.example.detail else ""
        text = f': "{short(self.example.text)}"' if self.example.text else ""
        return f"{line}; the first is {short(self.example.id)}{detail}{text}"


def losses(run: RunFolder, settings: Recipe, until: str = "curated") -> list[Loss]:
    """The losses of a run, in the order of its stages. A stage that had no rows is not one of them.

    Args:
        run: the run folder.
        settings: the recipe.
        until: the last stage that counts.
    """
    return list(_losses(run, totals(run, settings), _counted(settings, until)))


def short(text: str, most: int = _SHOWN) -> str:
    """Text for one line of a terminal: control characters escaped, and cut after ``most`` characters."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: most + 1])
    return escaped if len(escaped) <= most else f"{escaped[: most - 1]}…"


def _counted(settings: Recipe, until: str) -> set[StageKey]:
    made = stages(settings)
    last = max(index for index, stage in enumerate(made) if stage.stage == until)
    return set(made[: last + 1])


def _losses(run: RunFolder, found: list[Total], counted: set[StageKey]) -> Iterator[Loss]:
    for total in found:
        stage = StageKey(total.stage, total.round)
        if stage not in counted:
            continue
        rows = total.kept + sum(total.dropped.values())
        reason = max(total.dropped, key=lambda name: total.dropped[name], default="")
        dropped = total.dropped.get(reason, 0)
        nothing = rows > 0 and not total.kept
        if nothing or (reason not in CHOSEN and dropped > MOST * rows):
            example = _first(run, stage, total.language, reason)
            yield Loss(stage, total.language, total.kept, rows, reason, dropped, example)


def _first(run: RunFolder, stage: StageKey, language: str, reason: str) -> Dropped | None:
    """The first row of a language that a stage dropped for a reason."""
    for report in run.reports(stage):
        if report.key.language == language and report.dropped.get(reason):
            return next(row for row in run.dropped(report.key) if row.reason == reason)
    return None
