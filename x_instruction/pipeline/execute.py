"""Run a recipe: stage after stage, with the shards of each stage spread over workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from x_instruction.config import recipe
from x_instruction.config.recipe import Recipe
from x_instruction.config.site import Site
from x_instruction.corpus import ensemble
from x_instruction.errors import EngineError, RecipeError, ShardsMissing, ShardsSetAside
from x_instruction.languages import language
from x_instruction.pipeline import batch, rounds, top_up
from x_instruction.pipeline.costs import check_budget, spent
from x_instruction.pipeline.detached.pool import DetachedPool, begin, check_no_elements, check_options
from x_instruction.pipeline.detached.state import State, clear, ended_by_errors, load
from x_instruction.pipeline.executors.ray_cluster import check_address
from x_instruction.pipeline.models import Models
from x_instruction.pipeline.on import read_on
from x_instruction.pipeline.part import Part
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.pool import WorkerPool
from x_instruction.pipeline.progress import Progress, name_of
from x_instruction.pipeline.snapshot import Snapshot
from x_instruction.pipeline.verify import verify_shards
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.atomic import sweep
from x_instruction.storage.known_digests import forget_digests
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import CURATED, PASSAGE, SLICE, ShardKey, StageKey

# Pairs of a language above which a selector that clusters all of them is slow.
MANY_ROWS = 1_000_000

Pool = WorkerPool | DetachedPool


def execute(
    settings: Recipe,
    location: str | Path,
    workers: int,
    overwrite: bool,
    until: str,
    progress: Progress,
    *,
    budget: float | None = None,
    retry_failed: bool = False,
    rank: int = 0,
    of: int = 1,
    on: str = "local",
    site: Site | None = None,
    advancing: State | None = None,
    verify: bool = False,
) -> RunFolder:
    """Make what is missing of a run.

    Several processes, on one machine or on many that share the folder, can make one run: each is given a ``rank``, and
    makes the shards whose number modulo ``of`` is its rank. Passages and curated pairs are numbered by language: one
    rank makes all passages of a language, from slices of its corpus that all ranks make. Candidates and ratings are
    numbered over all languages, which is possible once the passages of all languages are complete. A rank makes every
    shard whose inputs exist, and then raises ``ShardsMissing`` if there are others. Rank 0 also trains the models of
    the run.

    Args:
        settings: the recipe.
        location: the run folder, or its URL in an object store; created if absent.
        workers: processes; 0 takes one per GPU (or group of GPUs that a model is split over), or on a CPU one per core
            up to the number of languages.
        overwrite: make shards again that were made under other settings.
        until: the last stage to make: ``passage``, ``candidate``, ``rated`` (of the last round) or ``curated``.
        progress: receives what happens.
        budget: the most that the run may cost, over all attempts, at the prices of the recipe.
        retry_failed: repeat requests that an engine failed on, and make again what was made without them.
        rank: the part of the shards to make, from 0.
        of: the number of parts.
        on: where the shards are made: ``local`` for processes of this machine; see ``pipeline.on``.
        site: settings of that place; defaults if None. Nothing in them affects the data.
        advancing: the state of a detached run that is continued after an array.
        verify: first read the corpus and every complete shard again, and compare their digests.

    Raises:
        BudgetReached: the budget is spent; all answers are kept.
        RunChanged: a shard was made under other settings, and ``overwrite`` is not set.
        ShardsMissing: the rank made all that it can, and needs shards or models of other ranks for the rest.
        ShardsSetAside: shards could not be made, and all others are; the same call tries them again.
        RecipeError: the recipe cannot be run, ``rank`` is out of range, or ``on`` names no place.
        XInstructionError: the run failed. Complete shards are kept, and the same call continues from there.
    """
    part = Part(rank, of)
    place = read_on(on)
    if place.kind == "ray":
        check_address(place.address)
    _check_part(part, overwrite, retry_failed, budget, verify)
    if place.detached:
        check_options(on, {"--budget": budget is not None, "--workers": bool(workers), "--rank": not part.whole})
    if budget is not None:
        check_budget(settings, budget)
    rounds.check(settings)
    run = open_run(location)
    if run.on_store:
        _check_store(run, settings, workers)
    run.check_place()
    plan = Plan(run, settings, overwrite, retry_failed, part)
    detached = advancing
    if advancing is None:
        check_no_elements(run)
        if place.detached:
            detached = begin(run, settings, State(on, (site or Site()).model_dump(), until, overwrite or retry_failed))
    with contextlib.ExitStack() as stack:
        stack.enter_context(run.lock(rank, of))
        if advancing is None:
            # Again: another process may have submitted some until it gave the lock back.
            check_no_elements(run)
        stack.enter_context(ended_by_errors(run))
        if advancing is None:
            clear(run)
        elif load(run) != advancing:
            # Another process has advanced or cancelled the run since the state was read.
            return run
        if part.whole:
            sweep(run.root.rglob(".*.tmp"))
        if verify:
            forget_digests()
            verify_shards(run, settings, progress.say)
        plan.check()
        unread = [language(tag) for tag in settings.languages if run.count(PASSAGE, tag) is None]
        ensemble.check(unread, settings.corpus.filters)
        if unread and (settings.corpus.decontaminate or settings.corpus.filters.quality_head):
            from x_instruction.corpus.stage import check_inputs

            check_inputs(settings.corpus, unread)
        run.mark_layout()
        run.write_file("recipe.json", recipe.dumps(settings).encode())
        if detached is not None and retry_failed:
            # Before the first array: what it makes anew is missing then, and needs no retry in later ones.
            for stage in rounds.stages(settings):
                plan.tasks(stage)

        def before() -> float:
            return 0.0 if budget is None else spent(run, settings)

        with (
            DetachedPool(run, settings, detached)
            if detached is not None
            else WorkerPool(run, settings, workers, budget, before, place, site)
        ) as pool:
            models = Models(run, settings, overwrite, progress.say)
            with top_up.recorded(run, settings, progress.say):
                _make_stages(settings, plan, models, pool, until, progress)
    return run


def train_models(
    settings: Recipe, root: Path, roles: Sequence[str], overwrite: bool, log: Callable[[str], None]
) -> Iterator[Path]:
    """Train what is missing of the models that a run needs first, without making the run.

    Args:
        settings: the recipe.
        root: the run folder; created if absent.
        roles: ``generator``, ``rater`` or both. A role that the recipe does not train is left out.
        overwrite: train models again that were trained under other settings.
        log: called with one line per event.

    Yields:
        The folder of each model, when it is complete.

    Raises:
        RecipeError: the recipe trains none of the roles.
        RunChanged: a model was trained under other settings, and ``overwrite`` is not set.
    """
    rounds.check(settings)
    sections = {"generator": settings.generate.train, "rater": settings.refine.train}
    chosen = [role for role in roles if sections[role] is not None]
    if not chosen:
        tables = {"generator": "[generate.train]", "rater": "[refine.train]"}
        raise RecipeError(
            f"the recipe {settings.name} trains no {' and no '.join(roles)}: add "
            f"{' or '.join(tables[role] for role in roles)}"
        )
    run = RunFolder(root)
    with run.lock():
        run.mark_layout()
        models = Models(run, settings, overwrite, log)
        for role in chosen:
            yield from models.ready(role, 0)


def _check_part(part: Part, overwrite: bool, retry_failed: bool, budget: float | None, verify: bool) -> None:
    """Refuse what needs a view of the whole run, which another rank may change at any time."""
    asked = {"--overwrite": overwrite, "--retry-failed": retry_failed, "--budget": budget is not None}
    asked["--verify"] = verify
    if not part.whole and any(asked.values()):
        names = " and ".join(name for name, given in asked.items() if given)
        raise RecipeError(f"{names} cannot be combined with --rank and --of: use it in a run without them")


def _check_store(run: RunFolder, settings: Recipe, workers: int) -> None:
    """Refuse what a run in an object store cannot do."""
    if run.one_process and workers != 1:
        raise RecipeError(f"{run.location} exists in this process alone: add --workers 1, or choose another --out")
    if any(model.engine == "batch" for model in settings.models):
        raise RecipeError(f'engine = "batch" writes files into the run folder, and {run.location} is a store')


def _make_stages(settings: Recipe, plan: Plan, models: Models, pool: Pool, until: str, progress: Progress) -> None:
    """Make every stage up to ``until``, as far as the inputs of the part exist.

    Raises:
        ShardsSetAside: shards could not be made.
        ShardsMissing: another part has to make something first.
    """
    learns = bool(settings.generate.train or settings.refine.train)
    if learns and until != "passage" and plan.part.makes_models:
        # Seeds that do not exist would otherwise be noticed only when everything before the rater is done.
        models.seeds()
    # The first reason why something is left. What is left later follows from it.
    missing: list[str] = []
    set_aside: dict[str, str] = {}
    for stage in top_up.drawn_stages(plan.run, settings, until):
        last = rounds.last_round(plan.run, settings)
        if stage.round > last or not plan.applies(stage):
            continue
        before = _missing_before(settings, plan, models, stage, pool)
        if not before:
            before = plan.missing(stage)
            set_aside |= _make_stage(settings, plan, stage, pool, progress)
        missing = missing or before
        if stage == StageKey(until, last if until == "rated" else 0) and not top_up.draws_more(
            plan.run, settings, stage
        ):
            break
    if set_aside:
        raise ShardsSetAside(set_aside)
    if not plan.part.whole and until in ("rated", "curated"):
        # The steps that follow have shards for every part.
        missing = missing or top_up.waits(plan.run, settings)
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise ShardsMissing(
            f"{plan.part} made all that it can, and needs {shown} from other ranks: rerun the same command when they "
            "are complete"
        )


def _missing_before(settings: Recipe, plan: Plan, models: Models, stage: StageKey, pool: Pool) -> list[str]:
    """Train the model that a stage asks, if the recipe trains one. Names of what another part has to make first."""
    earlier = StageKey("rated", max(0, stage.round - 1))
    if stage.round and (
        rounds.kept_share(plan.run, settings, earlier.round) is None or top_up.draws_more(plan.run, settings, earlier)
    ):
        # Models learn from all kept pairs of the round before, and only all of them tell whether a round follows.
        return [str(earlier.path)]
    if rounds.training_for(settings, stage) is None:
        return []
    role = rounds.ROLES[stage.stage]
    if not plan.part.makes_models:
        return [str(folder.relative_to(plan.run.root)) for folder in models.missing(role, stage.round)]
    pool.train(models, role, stage)
    return []


def _make_stage(settings: Recipe, plan: Plan, stage: StageKey, pool: Pool, progress: Progress) -> dict[str, str]:
    """Make the shards of the part that are left at a stage.

    Returns:
        The names of shards that were set aside, with the reasons.

    Raises:
        EngineError: the stage asks by batch files, and requests are left without an answer.
    """
    name = rounds.title(stage)
    tasks = plan.tasks(stage)
    reasons: dict[str, str] = {}
    unanswered = 0
    if tasks and batch.by_files(settings, stage):
        tasks, unanswered = batch.answered(plan.run, settings, tasks)
    if not tasks and not unanswered:
        progress.say(f"{name}: complete" if plan.part.whole else f"{name}: nothing left for {plan.part}")
    left_out: list[ShardKey] = []

    def done(task: ShardTask, reports: list[ShardReport]) -> None:
        progress.done(task, outcome(task, reports))

    def set_aside(task: ShardTask, reason: str, attempts: int) -> None:
        plan.run.set_aside(task.key, reason, attempts)
        reasons[str(task.key)] = reason
        left_out.append(task.key)
        progress.done(task, f"{name_of(task.key)}: set aside: {reason}")

    while tasks:
        progress.stage(name, len(tasks))
        for task in tasks if stage == CURATED else ():
            _advise(settings, plan.run, task, progress)
        pool.run(tasks, progress.update, done, set_aside)
        progress.end()
        # After slices of the corpus there are more of them, or passages.
        tasks = plan.tasks(stage, left_out) if tasks[0].key.stage_key == SLICE else []
    if unanswered:
        raise EngineError(
            f"{name}: {unanswered:,} requests wait for answers: `x-instruction batch write {plan.run.location}` writes "
            "them to files"
        )
    plan.finish(stage)
    return reasons


def _advise(settings: Recipe, run: RunFolder, task: ShardTask, progress: Progress) -> None:
    """Name the selector for languages that the chosen one needs hours for."""
    chosen, now = settings.diversify.selector, Snapshot(run, settings)
    rows = sum(now.finished.summary(key).kept for key in now.inputs(task.key) if key.stage == "rated")
    if chosen != "sampled-kmeans" and rows > MANY_ROWS:
        progress.say(
            f"{task.key.language} has {rows:,} pairs, and {chosen} clusters all of them: with "
            'diversify.selector = "sampled-kmeans" this takes minutes and half of the memory'
        )


def outcome(task: ShardTask, reports: list[ShardReport]) -> str:
    """The result of a task in one line."""
    kept, rows = sum(r.kept for r in reports), sum(r.rows_in for r in reports)
    reasons: dict[str, int] = {}
    for report in reports:
        for reason, number in report.dropped.items():
            reasons[reason] = reasons.get(reason, 0) + number
    most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    dropped = ", ".join(f"{reason} {number:,}" for reason, number in most[:4]) + (", …" if len(most) > 4 else "")
    return f"{name_of(task.key)}: {rows:,} in, {kept:,} kept" + (f" (dropped: {dropped})" if dropped else "")
