"""What is left to do of a run, and whether complete shards were made under the same settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from x_instruction.config.diversify import Diversify
from x_instruction.config.generate import Generate
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import UNASKED, Refine
from x_instruction.config.section import Section
from x_instruction.engines import FAILURES
from x_instruction.engines.fingerprint import VERSIONS, fingerprint, located
from x_instruction.engines.request_cache import forget_failures
from x_instruction.errors import RunChanged, differences
from x_instruction.languages import language
from x_instruction.pipeline import rounds
from x_instruction.pipeline.part import WHOLE, Part
from x_instruction.pipeline.rounds import ROLES, last_round
from x_instruction.pipeline.worker import ShardTask
from x_instruction.prompts import digest_of
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, PASSAGE, ShardKey, StageKey


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

    def tasks(self, stage: StageKey) -> list[ShardTask]:
        """The shards of the part that are left at a stage and have all of their inputs.

        Shards that have to be made again are removed.

        Raises:
            RunChanged: a shard was made under other settings.
        """
        tasks = []
        for key in self._own(stage):
            if not self._inputs_complete(key):
                continue
            task = ShardTask(key, self.settings(key))
            if self._open(key):
                tasks.append(task)
                continue
            failed = self.retry and self._failed(key)
            if failed:
                forget_failures(self.run.cache(key))
            if failed or self._changed(task):
                self._remove(key)
                tasks.append(task)
        return tasks

    def missing(self, stage: StageKey) -> list[str]:
        """Names of what another part has to make before the part can complete a stage; empty for a whole run."""
        # Shards are numbered over all languages, so all of these have to be known.
        unknown = [tag for tag in self.recipe.languages if self.run.count(PASSAGE, tag) is None]
        if stage not in (PASSAGE, CURATED) and unknown:
            return [f"{PASSAGE}/{tag}" for tag in unknown]
        missing: list[str] = []
        for key in self._own(stage):
            inputs = self._inputs(key)
            missing += [str(source) for source in inputs if not self.run.complete(source)]
            if stage == CURATED and not inputs:
                missing.append(f"{self._last_rated().path}/{key.language}")
        return missing

    def finish(self, stage: StageKey) -> None:
        """Record the number of shards of each language that is complete at a stage."""
        for tag in self.recipe.languages if stage != PASSAGE else ():
            shards = self._shards(stage, tag)
            if shards and self.run.count(stage, tag) != len(shards) and all(map(self.run.complete, shards)):
                self.run.finish(stage, tag, len(shards))

    def check(self) -> None:
        """Refuse at once, before any work, if a complete shard of any stage was made under other settings.

        Raises:
            RunChanged: such a shard exists, and it may not be overwritten.
        """
        for stage in rounds.stages(self.recipe):
            for task in self.reachable(stage):
                if self.run.complete(task.key):
                    self._changed(task)

    def reachable(self, stage: StageKey) -> list[ShardTask]:
        """The shards of all parts whose inputs exist, made or not; none of a language whose passages are incomplete."""
        known = [tag for tag in self.recipe.languages if self.run.count(PASSAGE, tag) is not None]
        keys = (key for tag in known for key in self._shards(stage, tag))
        return [ShardTask(key, self.settings(key)) for key in keys if self._inputs_complete(key)]

    def _own(self, stage: StageKey) -> Iterator[ShardKey]:
        """The shards of the part at a stage, as far as they are known.

        Passages and curated pairs are made per language, so languages are numbered. Candidates and ratings are numbered
        over all languages in the order of the recipe. The number of a shard is known once the passages of all languages
        before its own are complete, and never changes from then on.
        """
        number = 0
        for tag in self.recipe.languages:
            shards = self._shards(stage, tag)
            if not shards and not self.part.whole:
                return
            for key in shards:
                if self.part.has(number):
                    yield key
                number += 1

    def settings(self, key: ShardKey) -> dict[str, Any]:
        """Everything that decides the content of a shard, as dotted keys."""
        name = rounds.SECTIONS[key.stage]
        section = self._section(key)
        recorded = {f"{name}.{setting}": value for setting, value in fingerprint(section).items()}
        recorded["seed"] = self.recipe.seed
        recorded["stage.version"] = VERSIONS[key.stage]
        if isinstance(section, Generate | Refine):
            recorded[f"{name}.prompt.digest"] = digest_of(section.prompt)
        if isinstance(section, Generate) and section.route == "translate":
            # The prompts to translate with are those of the folder.
            recorded[f"{name}.translate.digest"] = digest_of("auto")
        if isinstance(section, Generate) and section.span:
            recorded[f"{name}.span.prompt.digest"] = digest_of(section.span.prompt)
        if isinstance(section, Diversify):
            recorded[f"{name}.embedder.files"] = located(_embedder(section.embedder), section.revision).revision
        if isinstance(section, Refine) and section.rater in ("consensus", "combined"):
            recorded[f"{name}.embedder.files"] = located(
                _embedder(section.embedder), section.embedder_revision
            ).revision
        if isinstance(section, Refine) and section.rater == "combined":
            from x_instruction.refine import combined

            recorded[f"{name}.weights.digest"] = combined.digest(section)
        if key.stage == "passage":
            from x_instruction.corpus import sources

            corpus = sources.fingerprint(self.recipe.corpus, language(key.language))
            return recorded | {f"input.{name}": digest for name, digest in corpus.items()}
        for source in self._inputs(key):
            recorded[f"input.{source}"] = self.run.report(source).digest
        return recorded

    def _section(self, key: ShardKey) -> Section:
        """The section of the recipe that a shard is made with, with the model that its round trains.

        Before that model is trained it is the recipe's own, so a shard of an earlier model differs.
        """
        section: Section = getattr(self.recipe, rounds.SECTIONS[key.stage])
        if isinstance(section, Refine) and section.rater in UNASKED:
            # Its model is not asked, so it need not exist.
            return section.replace(model=None)
        if not isinstance(section, Generate | Refine) or section.train is None:
            return section
        model = rounds.folder(self.run, ROLES[key.stage], key.round, rounds.own(section.train, key.language))
        if not model.is_dir():
            return section
        make = rounds.writing if isinstance(section, Generate) else rounds.rating
        return make(self.run, self.recipe, key.round, key.language)

    def _inputs(self, key: ShardKey) -> list[ShardKey]:
        """The shards that a shard is made from; none for curated pairs while the number of rated shards is open."""
        if key.stage == "passage":
            return []
        if key.stage == "curated":
            return self.run.shards(self._last_rated(), key.language)
        if key.stage == "rated":
            return [key.at(StageKey("candidate", key.round))]
        earlier = [StageKey(stage, key.round - 1) for stage in ("candidate", "rated") if key.round]
        return [key.at(stage) for stage in (PASSAGE, *earlier)]

    def _last_rated(self) -> StageKey:
        return StageKey("rated", last_round(self.run, self.recipe))

    def _shards(self, stage: StageKey, tag: str) -> list[ShardKey]:
        """The shards that a stage has to make for a language, as far as their number is known."""
        if stage in (PASSAGE, CURATED):
            return [stage.shard(tag)]
        return [key.at(stage) for key in self.run.shards(PASSAGE, tag)]

    def _open(self, key: ShardKey) -> bool:
        if key.stage == "passage":
            return self.run.count(PASSAGE, key.language) is None
        return not self.run.complete(key)

    def _inputs_complete(self, key: ShardKey) -> bool:
        if key.stage == "passage":
            return True
        inputs = self._inputs(key)
        return bool(inputs) and all(self.run.complete(source) for source in inputs)

    def _failed(self, key: ShardKey) -> bool:
        """Whether an engine failed on records of a complete shard."""
        return not FAILURES.keys().isdisjoint(self.run.report(key).dropped)

    def _changed(self, task: ShardTask) -> bool:
        """Whether a complete shard has to be made again because it was made under other settings.

        Raises:
            RunChanged: it was, and it may not be made again.
        """
        old = self.run.report(task.key).settings
        changed = differences(old, task.settings)
        if not changed or self.overwrite:
            return bool(changed)
        keys = [key for key in old.keys() | task.settings.keys() if old.get(key) != task.settings.get(key)]
        # A retry changes the shards that were made from the retried ones. A corpus that changed is no retry.
        if self.retry and task.key.stage != "passage" and all(key.startswith("input.") for key in keys):
            return True
        raise RunChanged(f"shard {task.key}", changed)

    def _remove(self, key: ShardKey) -> None:
        if key.stage == "passage":
            self.run.clear(PASSAGE, key.language)
        else:
            self.run.remove(key)


def _embedder(name: str) -> str:
    return "embedded-minilm" if name == "embedded" else name
