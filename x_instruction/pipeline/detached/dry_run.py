"""What a detached run would submit first. Nothing is written and nothing is submitted."""

from __future__ import annotations

from pathlib import Path

from x_instruction.config.recipe import Recipe
from x_instruction.config.site import Site, load
from x_instruction.errors import RecipeError
from x_instruction.pipeline import rounds
from x_instruction.pipeline.detached import Scheduler, Work
from x_instruction.pipeline.detached.pool import array_of
from x_instruction.pipeline.detached.state import scheduler
from x_instruction.pipeline.on import read_on
from x_instruction.pipeline.plan import Plan
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey


def dry_run(settings: Recipe, location: str | Path, on: str, site: Path | None, until: str) -> str:
    """The jobs that a run would submit first, after the same checks.

    Args:
        settings: the recipe.
        location: the run.
        on: where the shards are made.
        site: the file of the site.
        until: the last stage to make.

    Raises:
        RecipeError: ``on`` is no scheduler, or a setting is not possible.
        EngineError: the scheduler does not answer, or is not installed.
        RunChanged: a shard was made under other settings.
    """
    if not read_on(on).detached:
        raise RecipeError(f"--dry-run shows what is submitted, and --on is {on!r}: expected slurm or hf-jobs")
    rounds.check(settings)
    run = open_run(location)
    plan = Plan(run, settings)
    plan.check()
    where = scheduler(on, load(site) if site is not None else Site())
    work = _next(run, settings, plan, until, where)
    if work is None:
        return f"nothing is left to submit for {run.location}"
    array = array_of(run, work, 1, where)
    where.check(array)
    return where.shown(array)


def _next(run: RunFolder, settings: Recipe, plan: Plan, until: str, where: Scheduler) -> Work | None:
    """What comes first of what is missing."""
    for stage in rounds.stages(settings):
        last = rounds.last_round(run, settings)
        if stage.round > last:
            continue
        if train := rounds.training_for(settings, stage):
            role = rounds.ROLES[stage.stage]
            tags = {rounds.own(train, tag) for tag in settings.languages}
            if not all(rounds.folder(run, role, stage.round, tag).is_dir() for tag in tags):
                return Work(settings, stage, (), role)
        # Nothing is removed here: that takes --overwrite or --retry-failed.
        tasks = plan.tasks(stage)
        if tasks:
            return Work(settings, tasks[0].key.stage_key, tasks, server=where.server(stage))
        if stage == StageKey(until, last if until == "rated" else 0):
            break
    return None
