"""Running a recipe: stage after stage, the shards of each spread over workers."""

from __future__ import annotations

import os
from pathlib import Path

from x_instruction.config import recipe
from x_instruction.config.recipe import Recipe
from x_instruction.errors import EngineError
from x_instruction.pipeline import batch, rounds
from x_instruction.pipeline.costs import check_budget, spent
from x_instruction.pipeline.models import Models
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.pool import WorkerPool, groups
from x_instruction.pipeline.progress import Progress
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.atomic import atomic
from x_instruction.storage.lock import run_lock
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import StageKey


def execute(
    settings: Recipe,
    root: Path,
    workers: int,
    redo: bool,
    until: str,
    progress: Progress,
    *,
    budget: float | None = None,
    retry_failed: bool = False,
) -> RunFolder:
    """Do what is left of a run.

    Args:
        root: the run's folder; made if absent.
        workers: processes; 0 takes one per GPU (or group), or on a CPU one per core up to the number of languages.
        redo: make shards again that were made under other settings.
        until: the last stage to make: ``passage``, ``candidate``, ``rated`` (of the last round) or ``curated``.
        budget: what may be spent in all, with what was spent before, by the recipe's prices.
        retry_failed: ask again for records that an engine failed on, and make again what was made without them.

    Raises:
        BudgetReached: the money is spent; what was answered is kept.
        RunChanged: output of other settings is in the way and ``redo`` was not asked for.
        XInstructionError: what went wrong; what is complete stays, and the same command goes on from there.
    """
    if budget is not None:
        check_budget(settings, budget)
    rounds.check(settings)
    run = RunFolder(root)
    plan = Plan(run, settings, redo, retry_failed)
    with run_lock(root):
        for left in root.rglob(".*.tmp"):
            # Half-written by a run that was killed; nobody else works here.
            left.unlink()
        plan.check()
        run.mark_layout()
        with atomic(root / "recipe.json") as stream:
            stream.write(recipe.dumps(settings).encode())
        before = 0.0 if budget is None else spent(run, settings)
        with WorkerPool(run, settings, workers or default_workers(settings), budget, before) as hands:
            models = Models(run, settings, redo, progress.say)
            if until != "passage" and (settings.generate.tune or settings.refine.tune):
                # Seeds that are not there would else be missed when everything before the rater is done.
                models.seeds()
            for stage in rounds.stages(settings):
                last = rounds.last_round(run, settings)
                if stage.round > last:
                    continue
                _ready(models, stage, hands)
                _stage(plan, stage, hands, progress)
                if stage == StageKey(until, last if until == "rated" else 0):
                    break
    return run


def _ready(models: Models, stage: StageKey, hands: WorkerPool) -> None:
    """Tune the model that a stage is made with, where the recipe has one tuned."""
    tune = {"candidate": models.recipe.generate.tune, "rated": models.recipe.refine.tune}.get(stage.stage)
    if tune is not None:
        # Workers hold models, and a tuning wants the machine.
        models.ready(rounds.ROLES[stage.stage], stage.round, hands.rest)


def _stage(plan: Plan, stage: StageKey, hands: WorkerPool, progress: Progress) -> None:
    """Do the jobs of a stage that are left."""
    run, settings, name = plan.run, plan.recipe, rounds.title(stage)
    jobs = plan.jobs(stage)
    waiting = 0
    if jobs and batch.by_files(settings, stage):
        jobs, waiting = batch.answered(run, settings, jobs)
    if jobs:
        progress.stage(name, len(jobs))

        def done(job: ShardTask, reports: list[ShardReport]) -> None:
            progress.done(job, outcome(job, reports))

        hands.perform(jobs, progress.seen, done)
        progress.end()
    elif not waiting:
        progress.say(f"{name}: complete")
    if waiting:
        raise EngineError(
            f"{name}: {waiting:,} requests wait for answers: `x-instruction batch write {run.root}` writes them into a "
            "file"
        )
    plan.finish(stage)


def default_workers(settings: Recipe) -> int:
    """One worker per GPU, or group of them that a model is split over; on a CPU one per core or language, the fewer."""
    return len(groups(settings)) or max(1, min(os.cpu_count() or 1, len(settings.languages)))


def outcome(job: ShardTask, reports: list[ShardReport]) -> str:
    """A job's result in one line."""
    kept, rows = sum(r.kept for r in reports), sum(r.rows_in for r in reports)
    reasons: dict[str, int] = {}
    for report in reports:
        for reason, number in report.dropped.items():
            reasons[reason] = reasons.get(reason, 0) + number
    most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    dropped = ", ".join(f"{reason} {number:,}" for reason, number in most[:4]) + (", …" if len(most) > 4 else "")
    key = job.key
    name = key.language if key.stage in ("passage", "curated") else f"{key.language}/{key.index:05d}"
    return f"{name}: {rows:,} in, {kept:,} kept" + (f" (dropped: {dropped})" if dropped else "")
