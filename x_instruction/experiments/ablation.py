"""Ablations: variants of one recipe that differ in one setting, each in a run of its own.

What variants have in common is made once: a new variant links the shards and models of earlier ones that were made
under the settings it would use.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import UNASKED, Refine
from x_instruction.diversify.report import describe
from x_instruction.errors import RecipeError, differences
from x_instruction.pipeline import rounds
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.models import Models, made
from x_instruction.pipeline.progress import Progress
from x_instruction.pipeline.snapshot import Snapshot
from x_instruction.records import Curated
from x_instruction.refine import TRAINED_RATERS, check
from x_instruction.refine.compare import settings_for
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, EMBEDDED, PASSAGE, StageKey

# What each study changes, by variant.
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "refinement": {"whole": {}, "no-refinement": {"refine.rater": "none"}},
    "diversification": {"whole": {}, "no-diversification": {"diversify.selector": "random"}},
    "rounds": {
        f"{number}-rounds": {"refine.rounds": number, "refine.convergence_tolerance": 0.0} for number in range(4)
    },
    "raters": {
        name: {"refine.rater": name} for name in ("trained", "pmi", "contrastive", "consensus", "prompted", "combined")
    },
    "selectors": {name: {"diversify.selector": name} for name in ("kmeans", "mmr", "k-center", "top", "random")},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a variant.

    Args:
        variant: its name.
        passages, kept, curated: rows of all languages after the corpus, the last rating and the selection.
        score: mean score of the curated pairs, on the scale of the rater.
        distinct: distinct-2 of the instructions: different word pairs over all word pairs. It falls with the number of
            rows, so compare only sets of one size.
        folder: folder of the run.
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
        RecipeError: there is no such study.
    """
    if study not in STUDIES:
        raise RecipeError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return {name: _changed(settings, changes) for name, changes in STUDIES[study].items()}


def ablate(
    settings: Recipe, study: str, folder: Path, workers: int, overwrite: bool, progress: Progress
) -> Iterator[Outcome]:
    """Run every variant, and yield the result of each.

    Args:
        settings: the recipe.
        study: a key of ``STUDIES``.
        folder: parent of the run folders, one per variant. Variants that are complete are not made again.
        workers, overwrite, progress: see ``execute``.

    Raises:
        RecipeError: there is no such study, or a variant cannot be rated as set.
    """
    recipes = variants(settings, study)
    for recipe in recipes.values():
        check(recipe.refine)
    earlier: list[RunFolder] = []
    for name, recipe in recipes.items():
        root = folder / name
        if not root.exists():
            _link_common(earlier, root, recipe)
        earlier.append(execute(recipe, root, workers, overwrite, "curated", progress))
        yield _outcome(name, earlier[-1], recipe)


def _changed(settings: Recipe, changes: dict[str, Any]) -> Recipe:
    for key, value in changes.items():
        section, name = key.split(".")
        part: Any = getattr(settings, section)
        part = _rated_by(settings, value) if key == "refine.rater" else part.replace(**{name: value})
        settings = settings.replace(**{section: part})
    return settings


def _rated_by(settings: Recipe, rater: str) -> Refine:
    """The settings by which raters are compared, with training and rounds where a model learns from the ratings."""
    refine = settings.refine
    tune = refine.train if rater in TRAINED_RATERS else None
    learns = rater not in UNASKED and (tune or settings.generate.train)
    return settings_for(refine, rater).replace(train=tune, rounds=refine.rounds if learns else 0)


def _link_common(earlier: Sequence[RunFolder], root: Path, variant: Recipe) -> None:
    """Link the shards and models of earlier variants that this variant would make with equal content.

    Request caches are never linked, because a run writes into them. The folder appears at once: it is filled under a
    temporary name, and an incomplete one is removed first.
    """
    run = RunFolder(root.with_name(f".{root.name}.tmp"))
    if run.root.exists():
        shutil.rmtree(run.root)
    for part, is_equal in _parts(run, variant):
        source = next((old.root / part for old in earlier if is_equal(old)), None)
        if source is None:
            # All later parts are made from this one.
            break
        run.mark_layout()
        shutil.copytree(source, run.root / part, copy_function=os.link)
    if run.root.exists():
        run.root.rename(root)


def _parts(run: RunFolder, variant: Recipe) -> Iterator[tuple[Path, Callable[[RunFolder], bool]]]:
    """The folders of a run in the order in which they are made, each with a test for an equal folder in another run.

    The test of a folder needs the folders before it.
    """
    models = Models(run, variant, False, lambda text: None)
    if variant.generate.train or variant.refine.train:
        # No study changes how seeds are collected.
        yield Path("seeds"), lambda old: (old.root / "seeds").is_dir()
    for stage in rounds.stages(variant):
        if tune := rounds.training_for(variant, stage):
            role = rounds.ROLES[stage.stage]
            for tag in dict.fromkeys(rounds.own(tune, tag) for tag in variant.languages):
                model = rounds.folder(run, role, stage.round, tag).relative_to(run.root)
                yield model, partial(_same_model, models, model, role, stage.round, tag)
        for tag in variant.languages:
            # Small languages have no embedded shards, which is known once the rated ones are linked.
            if stage != EMBEDDED or Snapshot(run, variant).embeds_shards(tag):
                yield Path(stage.path, tag), partial(_same_shards, run, variant, stage, tag)


def _same_model(models: Models, model: Path, role: str, round: int, tag: str, old: RunFolder) -> bool:
    folder = old.root / model
    return folder.is_dir() and not differences(made(folder), models.settings(role, round, tag))


def _same_shards(run: RunFolder, variant: Recipe, stage: StageKey, tag: str, old: RunFolder) -> bool:
    shards, now = old.shards(stage, tag), Snapshot(run, variant)
    return bool(shards) and not any(differences(old.report(key).settings, now.settings(key)) for key in shards)


def _outcome(name: str, run: RunFolder, settings: Recipe) -> Outcome:
    last = StageKey("rated", rounds.last_round(run, settings))
    records = [record for tag in settings.languages for record in run.read(CURATED.shard(tag))]
    curated = [record for record in records if isinstance(record, Curated)]
    variety = describe([record.instruction for record in curated])
    return Outcome(
        variant=name,
        passages=sum(report.kept for report in run.reports(PASSAGE)),
        kept=sum(report.kept for report in run.reports(last)),
        curated=len(curated),
        score=sum(record.score for record in curated) / max(1, len(curated)),
        distinct=float(variety.distinct_2 or 0.0),
        folder=run.root,
    )
