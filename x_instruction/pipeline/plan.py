"""What is left to do of a run, and whether complete shards were made under the same settings."""

from __future__ import annotations

from collections.abc import Container, Iterator

from x_instruction.config.recipe import Recipe
from x_instruction.engines import FAILURES
from x_instruction.engines.request_cache import forget_failures
from x_instruction.errors import RunChanged, differences
from x_instruction.pipeline import rounds
from x_instruction.pipeline.part import WHOLE, Part
from x_instruction.pipeline.slices import Slices
from x_instruction.pipeline.snapshot import Snapshot
from x_instruction.pipeline.top_up import RATED
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.finished import FILES, split, without_folders
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.scratch import local_cache
from x_instruction.storage.shard_key import CURATED, EMBEDDED, PASSAGE, SLICE, ShardKey, StageKey


class Plan:
    """What is left to do of a recipe in a run folder.

    Args:
        run: the run folder.
        settings: the recipe.
        overwrite: make shards again that were made under other settings, instead of refusing.
        retry: make shards again of which an engine failed records, and what was made from them.
        part: the shards to make.
    """

    def __init__(
        self, run: RunFolder, settings: Recipe, overwrite: bool = False, retry: bool = False, part: Part = WHOLE
    ) -> None:
        self.run = run
        self.recipe = settings
        self.overwrite = overwrite
        self.retry = retry
        self.part = part
        self.slices = Slices(run, settings.corpus, lambda tag: Snapshot(run, settings).settings(PASSAGE.shard(tag)))

    def tasks(self, stage: StageKey, skip: Container[ShardKey] = ()) -> list[ShardTask]:
        """The shards of the part that are left at a stage and have all of their inputs.

        Shards that have to be made again are removed. Before passages, the slices of their corpus are made: these are
        the tasks until enough of them are there.

        Args:
            stage: the stage.
            skip: slices that were set aside. The passages of their languages are left out.

        Raises:
            RunChanged: a shard was made under other settings.
        """
        now = Snapshot(self.run, self.recipe)
        tasks = []
        for key in self._own(now, stage):
            if not now.inputs_complete(key):
                continue
            if now.is_open(key):
                tasks.append(ShardTask(key, now.settings(key)))
                continue
            failed = self.retry and not FAILURES.keys().isdisjoint(now.finished.summary(key).dropped)
            if failed:
                with local_cache(self.run, key) as path:
                    forget_failures(path)
            if failed or self._changed(now, key):
                tasks.append(ShardTask(key, now.settings(key)))
                self._remove(key)
        now.finished.save()
        return self._slices_first(tasks, skip) if stage == PASSAGE else tasks

    def _slices_first(self, tasks: list[ShardTask], skip: Container[ShardKey]) -> list[ShardTask]:
        """The slices of the part that are left of any language, or else the languages of which no slice is left."""
        left = list(self._slices_left())
        own = [task for number, task in left if self.part.has(number) and task.key not in skip]
        waiting = {task.key.language for _, task in left}
        return own or [task for task in tasks if task.key.language not in waiting]

    def _slices_left(self) -> Iterator[tuple[int, ShardTask]]:
        """The slices that are left of languages without passages, numbered so that parts share those of a language."""
        for number, tag in enumerate(self.recipe.languages):
            if self.run.count(PASSAGE, tag) is None:
                yield from ((number + task.key.index, task) for task in self.slices.left(tag))

    def missing(self, stage: StageKey) -> list[str]:
        """Names of what another part has to make before the part can complete a stage; empty for a whole run."""
        now = Snapshot(self.run, self.recipe)
        # Shards are numbered over all languages, so all of these have to be known.
        unknown = [tag for tag in self.recipe.languages if now.count(PASSAGE, tag) is None or now.steps.outdated(tag)]
        if stage not in (PASSAGE, CURATED) and unknown:
            return [f"{PASSAGE}/{tag}" for tag in unknown]
        missing: list[str] = []
        if stage == PASSAGE and not self.part.whole:
            missing += [str(task.key) for number, task in self._slices_left() if not self.part.has(number)]
        for key in self._own(now, stage):
            inputs = now.inputs(key)
            missing += [str(source) for source in inputs if not now.finished.complete(source)]
            if stage == CURATED and not inputs:
                missing.append(f"{now.last_rated.path}/{key.language}")
        return missing

    def applies(self, stage: StageKey) -> bool:
        """Whether any language has the stage: only large ones are embedded shard by shard."""
        now = Snapshot(self.run, self.recipe)
        return stage != EMBEDDED or any(map(now.embeds_shards, self.recipe.languages))

    def finish(self, stage: StageKey) -> None:
        """Record the number of shards of each language that is complete at a stage, and remove slices of no use."""
        now = Snapshot(self.run, self.recipe)
        for tag in self.recipe.languages if stage in (PASSAGE, RATED) else ():
            # A later step of a top-up reads them again.
            if now.count(PASSAGE, tag) is not None and now.steps.of(tag).final:
                self.run.clear(SLICE, tag)
        for tag in self.recipe.languages if stage != PASSAGE else ():
            shards = now.shards(stage, tag)
            if shards and now.count(stage, tag) != len(shards) and all(map(now.finished.complete, shards)):
                self.run.finish(stage, tag, len(shards))

    def check(self) -> None:
        """Refuse at once, before any work, if a complete shard of any stage was made under other settings.

        Raises:
            RunChanged: such a shard exists, and it may not be overwritten.
        """
        now = Snapshot(self.run, self.recipe)
        for stage in rounds.stages(self.recipe):
            for key in self._reachable(now, stage):
                if now.finished.complete(key):
                    self._changed(now, key)
        now.finished.save()

    def reachable(self, stage: StageKey) -> list[ShardTask]:
        """The shards of all parts whose inputs exist, made or not; none of a language whose passages are incomplete."""
        now = Snapshot(self.run, self.recipe)
        return [ShardTask(key, now.settings(key)) for key in self._reachable(now, stage)]

    def _reachable(self, now: Snapshot, stage: StageKey) -> Iterator[ShardKey]:
        known = [tag for tag in self.recipe.languages if now.count(PASSAGE, tag) is not None]
        return (key for tag in known for key in now.shards(stage, tag) if now.inputs_complete(key))

    def _own(self, now: Snapshot, stage: StageKey) -> Iterator[ShardKey]:
        """The shards of the part at a stage, as far as they are known.

        Passages and curated pairs are made per language, so languages are numbered. Candidates and ratings are numbered
        over all languages in the order of the recipe. The number of a shard is known once the passages of all languages
        before its own are complete, and never changes from then on.
        """
        first = 0
        for tag in self.recipe.languages:
            shards = now.shards(stage, tag)
            # Embedded shards have the numbers of their rated ones, in languages without any too.
            number = (now.count(PASSAGE, tag) or 0) if stage == EMBEDDED else len(shards)
            if not number and not self.part.whole:
                return
            yield from (key for key in shards if self.part.has(first + key.index))
            first += number

    def _changed(self, now: Snapshot, key: ShardKey) -> bool:
        """Whether a complete shard has to be made again because it was made under other settings.

        Raises:
            RunChanged: it was, and it may not be made again.
        """
        if now.unchanged(key):
            return False
        recorded = self.run.report(key).settings
        settings, inputs = split(recorded)
        old, new = settings | inputs, now.settings(key)
        if key.stage == "passage":
            files = {FILES: recorded[FILES]} if FILES in recorded else {}
            old, new = without_folders(old | files, new)
        changed = differences(old, new)
        if not changed or self.overwrite:
            return bool(changed)
        keys = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
        # A retry changes the shards that were made from the retried ones. A corpus that changed is no retry.
        if self.retry and key.stage != "passage" and all(name.startswith("input.") for name in keys):
            return True
        # A later step of a top-up draws more of the same corpus.
        if key.stage == "passage" and self.recipe.diversify.target and keys == ["corpus.passages"]:
            return True
        raise RunChanged(f"shard {key}", changed)

    def _remove(self, key: ShardKey) -> None:
        if key.stage == "passage":
            self.run.clear(PASSAGE, key.language)
        else:
            self.run.remove(key)
