"""Ablations: one recipe with one thing changed at a time, each in a run of its own, side by side.

What two variants have in common is made once: it is taken over from the variant before, which shards and models allow
because they say what they were made under.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.diversify.report import describe
from x_instruction.errors import RecipeError
from x_instruction.recipe import Recipe, Refine
from x_instruction.records import Curated
from x_instruction.refine import TUNED, check
from x_instruction.refine.compare import settings_for
from x_instruction.run import rounds
from x_instruction.run.execute import execute
from x_instruction.run.progress import Progress
from x_instruction.shards import Run

# What each study changes, by variant.
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "refinement": {"whole": {}, "no-refinement": {"refine.rater": "none"}},
    "diversification": {"whole": {}, "no-diversification": {"diversify.selector": "random"}},
    "rounds": {f"{number}-rounds": {"refine.rounds": number, "refine.settled": 0.0} for number in range(4)},
    "raters": {name: {"refine.rater": name} for name in ("trained", "pmi", "prompted", "combined")},
    "selectors": {name: {"diversify.selector": name} for name in ("kmeans", "mmr", "k-center", "top", "random")},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a variant.

    Args:
        passages, kept, curated: rows of all languages after the corpus, the last rating and the draw.
        score: mean of the curated pairs, in the rater's own scale.
        distinct: different word pairs over all word pairs of the instructions; only sets of one size compare.
        folder: of the run.
    """

    variant: str
    passages: int
    kept: int
    curated: int
    score: float
    distinct: float
    folder: Path


def variants(settings: Recipe, study: str) -> dict[str, Recipe]:
    """The recipe of each variant.

    Raises:
        RecipeError: no such study.
    """
    if study not in STUDIES:
        raise RecipeError(f"no study {study!r}, wanted one of {', '.join(STUDIES)}")
    return {name: _changed(settings, changes) for name, changes in STUDIES[study].items()}


def ablate(
    settings: Recipe, study: str, folder: Path, workers: int, redo: bool, progress: Progress
) -> Iterator[Outcome]:
    """Run every variant that is not there yet, and give what came of each.

    Args:
        settings: the recipe.
        study: a key of ``STUDIES``.
        folder: each variant has its run in a folder of it.
        workers, redo, progress: as for a run.
    """
    made = variants(settings, study)
    for variant in made.values():
        check(variant.refine)
    before: Path | None = None
    for name, variant in made.items():
        root = folder / name
        if before is not None and not root.exists():
            _take_over(before, root, study, variant)
        run = execute(variant, root, workers, redo, "curated", progress)
        yield _outcome(name, run, variant)
        before = root


def _changed(settings: Recipe, changes: dict[str, Any]) -> Recipe:
    for key, value in changes.items():
        section, name = key.split(".")
        part: Any = getattr(settings, section)
        part = _rated_by(settings, value) if key == "refine.rater" else dataclasses.replace(part, **{name: value})
        settings = dataclasses.replace(settings, **{section: part})
    return settings


def _rated_by(settings: Recipe, rater: str) -> Refine:
    """As raters are compared, with the recipe's tuning and rounds where something learns from the rating."""
    refine = settings.refine
    tune = refine.tune if rater in TUNED else None
    learns = rater != "none" and (tune or settings.generate.tune)
    return dataclasses.replace(settings_for(refine, rater), tune=tune, rounds=refine.rounds if learns else 0)


def _take_over(before: Path, root: Path, study: str, variant: Recipe) -> None:
    """Link what the variant before made and this one would make alike; never a ledger, which is written into."""
    rated_alike = study in ("rounds", "diversification", "selectors")
    ages = rounds.ages(variant)[:-1] if rated_alike else ["passage", "candidate"]
    # Models of later rounds learned from what another rater kept.
    models = [path for path in (before / "models").glob("*") if rated_alike or path.name.split("-")[1] == "0"]
    for source in [before / "seeds", *models, *(before / age for age in ages)]:
        if source.is_dir():
            shutil.copytree(source, root / source.relative_to(before), copy_function=os.link)


def _outcome(name: str, run: Run, settings: Recipe) -> Outcome:
    last = rounds.at("rated", rounds.final(run, settings))
    records = [record for tag in settings.languages for record in run.read("curated", tag, 0)]
    curated = [record for record in records if isinstance(record, Curated)]
    variety = describe([record.instruction for record in curated])
    return Outcome(
        variant=name,
        passages=sum(report.kept for report in run.reports("passage")),
        kept=sum(report.kept for report in run.reports(last)),
        curated=len(curated),
        score=sum(record.score for record in curated) / max(1, len(curated)),
        distinct=float(variety.distinct_2 or 0.0),
        folder=run.root,
    )
