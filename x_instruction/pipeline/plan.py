"""What a run has to do: the jobs of each stage, and whether what is there was made under the same settings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from x_instruction.config import recipe
from x_instruction.config.recipe import Model, Recipe
from x_instruction.engines import FAILURES, engine_spec
from x_instruction.engines.models import locate
from x_instruction.engines.request_cache import forget_failures
from x_instruction.errors import RunChanged
from x_instruction.languages import language
from x_instruction.pipeline import rounds
from x_instruction.pipeline.rounds import ROLES, at, final, split, stage
from x_instruction.pipeline.worker import PLACE, ShardTask
from x_instruction.prompts import digest_of
from x_instruction.storage.run_folder import RunFolder

# Raised when a stage's code changes what it makes, so that old shards are noticed.
VERSIONS = {"passage": 1, "candidate": 1, "rated": 1, "curated": 1}


class Plan:
    """The jobs of a recipe in a run's folder.

    Args:
        redo: make shards again that were made under other settings, instead of refusing.
        retry: make shards again of which an engine failed records, and what was made from them.
    """

    def __init__(self, run: RunFolder, settings: Recipe, redo: bool = False, retry: bool = False) -> None:
        self.run = run
        self.recipe = settings
        self.redo = redo
        self.retry = retry

    def jobs(self, age: str) -> list[ShardTask]:
        """Jobs that this stage still has to do; shards that are to be made again are removed.

        Raises:
            RunChanged: a shard was made under other settings.
        """
        jobs = []
        for tag in self.recipe.languages:
            for index in range(self._shards(age, tag)):
                job = ShardTask(age, tag, index, self.settings(age, tag, index))
                if self._open(job):
                    jobs.append(job)
                    continue
                failed = self.retry and self._failed(job)
                if failed:
                    forget_failures(self.run.cache(age, tag, index))
                if failed or self._changed(job):
                    self._remove(job)
                    jobs.append(job)
        return jobs

    def finish(self, age: str) -> None:
        """Say how many shards each language has at an age whose jobs are done."""
        for tag in self.recipe.languages if age != "passage" else ():
            if self.run.count(age, tag) != self._shards(age, tag):
                self.run.finish(age, tag, self._shards(age, tag))

    def check(self) -> None:
        """Refuse at once, before any work, when a finished shard of any stage was made under other settings."""
        for age in rounds.ages(self.recipe):
            for tag, index in self._reachable(age):
                if self.run.complete(age, tag, index):
                    self._changed(ShardTask(age, tag, index, self.settings(age, tag, index)))

    def reachable(self, age: str) -> list[ShardTask]:
        """Jobs whose inputs are there, done or not; none of a language whose passages are not complete."""
        return [ShardTask(age, tag, index, self.settings(age, tag, index)) for tag, index in self._reachable(age)]

    def _reachable(self, age: str) -> Iterator[tuple[str, int]]:
        for tag in self.recipe.languages:
            if self.run.count("passage", tag) is not None:
                yield from ((tag, index) for index in range(self._shards(age, tag)) if self._there(age, tag, index))

    def settings(self, age: str, tag: str, index: int) -> dict[str, Any]:
        """Everything that decides a shard's content, as dotted keys."""
        section = stage(age)
        found = {
            f"{section}.{key}": value
            for key, value in recipe.flatten(getattr(self.recipe, section)).items()
            if section == "corpus" or not _elsewhere(key)
        }
        found["seed"] = self.recipe.seed
        found["stage.version"] = VERSIONS[split(age)[0]]
        if age == "passage":
            from x_instruction.corpus.sources import fingerprint

            return found | {f"input.{k}": v for k, v in fingerprint(self.recipe.corpus, language(tag)).items()}
        for name in self._inputs(age):
            for shard in range(self.run.count(name, tag) or 0) if age == "curated" else [index]:
                found[f"input.{name}/{shard:05d}"] = self.run.report(name, tag, shard).digest
        return found | self._models(age, tag)

    def _inputs(self, age: str) -> list[str]:
        """The ages that a shard is made from."""
        if age == "curated":
            return [at("rated", final(self.run, self.recipe))]
        kind, round = split(age)
        if kind == "rated":
            return [at("candidate", round)]
        return ["passage", *(at(earlier, round - 1) for earlier in ("candidate", "rated") if round)]

    def _models(self, age: str, tag: str) -> dict[str, Any]:
        """Revisions of models and digests of prompts: their names alone do not say what they are."""
        if age == "curated":
            return {"diversify.embedder.files": _revision(_embedder(self.recipe), self.recipe.diversify.revision)}
        kept, round = split(age)
        section: Any = self.recipe.generate if kept == "candidate" else self.recipe.refine
        name = stage(age)
        model: Model = section.model
        # What a server runs is known by its name only.
        files = f"served:{model.revision}" if engine_spec(model).remote else _revision(model.name, model.revision)
        prompt = section.prompt if section.tune is None else getattr(section, "tuned_prompt", section.prompt)
        found = {f"{name}.model.files": files, f"{name}.prompt.digest": digest_of(prompt)}
        if section.tune is not None:
            adapter = rounds.folder(self.run, ROLES[kept], round, rounds.own(section.tune, tag))
            found[f"{name}.adapter.files"] = locate(str(adapter)).revision if adapter.is_dir() else "not there"
        elif model.adapter and not engine_spec(model).remote:
            found[f"{name}.adapter.files"] = _revision(model.adapter, "main")
        return found

    def _shards(self, age: str, tag: str) -> int:
        return 1 if age in ("passage", "curated") else self.run.count("passage", tag) or 0

    def _open(self, job: ShardTask) -> bool:
        if job.age == "passage":
            return self.run.count("passage", job.language) is None
        return not self.run.complete(job.age, job.language, job.index)

    def _there(self, age: str, tag: str, index: int) -> bool:
        if age == "passage":
            return True
        if age != "curated":
            return all(self.run.complete(name, tag, index) for name in self._inputs(age))
        (name,) = self._inputs(age)
        count = self.run.count(name, tag)
        return count is not None and all(self.run.complete(name, tag, n) for n in range(count))

    def _failed(self, job: ShardTask) -> bool:
        """Whether an engine failed records of a finished shard."""
        return not FAILURES.keys().isdisjoint(self.run.report(job.age, job.language, job.index).dropped)

    def _changed(self, job: ShardTask) -> bool:
        """Whether a finished shard has to be made again because it was made under other settings.

        Raises:
            RunChanged: it was, and nobody said to make it again.
        """
        old = self.run.report(job.age, job.language, job.index).settings
        found = differences(old, job.settings)
        if not found or self.redo:
            return bool(found)
        keys = [key for key in old.keys() | job.settings.keys() if old.get(key) != job.settings.get(key)]
        # What a retry adds goes on into what was made from it; a corpus that changed is another matter.
        if self.retry and job.age != "passage" and all(key.startswith("input.") for key in keys):
            return True
        raise RunChanged(f"shard {job.name}", found)

    def _remove(self, job: ShardTask) -> None:
        if job.age == "passage":
            self.run.clear("passage", job.language)
        else:
            self.run.remove(job.age, job.language, job.index)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One phrase per setting that differs, the most telling first: settings before inputs."""
    keys = sorted(old.keys() | new.keys(), key=lambda key: (key.startswith("input."), key))
    return [f"{key} was {_short(old, key)}, is {_short(new, key)}" for key in keys if old.get(key) != new.get(key)]


def _elsewhere(key: str) -> bool:
    """Whether a key says where and how fast, or belongs to what a tuned model is known by: its adapter's digest."""
    return key.split(".")[-1] in PLACE or key.startswith("tune.") or key in _LOOP


# Keys of the loop and of the making of ratings: more rounds go on from what is there.
_LOOP = frozenset({"tune", "start", "rounds", "settled", "builders", "per_level", "development"})


def _short(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "absent"
    text = repr(values[key])
    return text if len(text) <= 40 else f"{text[:24]}…"


def _embedder(settings: Recipe) -> str:
    name = settings.diversify.embedder
    return "embedded-minilm" if name == "embedded" else name


@cache
def _revision(name: str, revision: str) -> str:
    return locate(name, revision).revision
