"""The models that a run tunes for itself: its generator, and its rater, anew for every round.

    <run>/seeds/sw.jsonl             seed pairs of a language, with their report and what was dropped
    <run>/models/generator-0/        an adapter; it exists, so it is whole
    <run>/models/rater-1/            with ``calibration.json``

Each model says in ``made.json`` what decided it, as a shard's report does, and is refused or made again likewise.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from x_instruction import recipe
from x_instruction.engines import Choice, Chosen, Engine, open_engine
from x_instruction.engines.models import locate
from x_instruction.errors import CorpusError, EngineError, RunChanged
from x_instruction.languages import language
from x_instruction.prompts import digest_of
from x_instruction.recipe import Generate, Recipe, Refine, Tune
from x_instruction.records import Rated
from x_instruction.run.plan import differences
from x_instruction.run.rounds import at, folder
from x_instruction.seed.collect import collect, described
from x_instruction.seed.files import seed_files
from x_instruction.seed.pairs import Pair, read_pairs
from x_instruction.shards import Run, file_digest
from x_instruction.tuning.job import Job, Lesson, Tuned
from x_instruction.tuning.launch import launch

if TYPE_CHECKING:
    from x_instruction.tuning.reading import Reader

MADE = "made.json"
# Raised when a role's code changes what it learns, so that old models are noticed.
VERSIONS = {"generator": 1, "rater": 1}
# Keys of the section that decide what the model learns.
_LEARNT = {
    "generator": ("passage_tokens", "tuned_prompt"),
    "rater": ("builders", "per_level", "development", "response_tokens", "prompt"),
}
# Where a tuning runs, and what it costs in memory, is no part of what it makes.
_PLACE = frozenset({"device", "device_batch_size", "gradient_checkpointing", "processes", "save_steps", "log"})


class Models:
    """The tuned models of a run.

    Args:
        redo: make models again that were made under other settings, instead of refusing.
        say: tells a person what happens.
    """

    def __init__(self, run: Run, settings: Recipe, redo: bool, say: Callable[[str], None]) -> None:
        self.run = run
        self.recipe = settings
        self.redo = redo
        self.say = say

    def wanted(self, role: str, round: int) -> bool:
        """Whether a model has to be made; one that was made under other settings is removed.

        Raises:
            RunChanged: it was, and nobody said to make it again.
            CorpusError: there are no seeds.
        """
        self._seeds()
        target = folder(self.run, role, round)
        if not target.is_dir():
            return True
        old = json.loads((target / MADE).read_text("utf-8"))
        now = self.settings(role, round)
        found = differences(old, now)
        if found and not self.redo:
            raise RunChanged(f"model {target.name}", found)
        if found:
            shutil.rmtree(target)
        return bool(found)

    def make(self, role: str, round: int) -> None:
        """Tune a model, and calibrate it if it rates; killed at any moment, the next call goes on.

        Raises:
            TuningError: it cannot be tuned; the message says why.
        """
        from x_instruction.tuning.reading import Reader

        section = self._section(role)
        assert section.tune is not None
        reader = Reader(section.model.name, section.model.revision)
        pairs = [*self._pairs(), *(self._kept(round - 1) if round else ())]
        if role == "generator":
            lessons, finish = self._writing(pairs, reader), self._described(role, round)
        else:
            lessons, finish = self._rating(pairs, reader, self._described(role, round))
        self.say(f"{role}, round {round}: tuning on {len(lessons):,} rows")
        job = Job(model=section.model, tune=section.tune)
        tuned = launch(job, lessons, folder(self.run, role, round), finish)
        self.say(f"{role}, round {round}: {tuned.steps:,} steps, {tuned.seconds:,.0f} s, loss {tuned.loss:.3f}")

    def settings(self, role: str, round: int) -> dict[str, Any]:
        """Everything that decides a model, as dotted keys."""
        section = self._section(role)
        tune = cast(Tune, section.tune)
        found = {f"tune.{key}": value for key, value in recipe.flatten(tune).items() if key not in _PLACE}
        found |= {key: value for key, value in recipe.flatten(section).items() if key in _LEARNT[role]}
        found["version"] = VERSIONS[role]
        found["seed"] = self.recipe.seed
        found["model.files"] = locate(section.model.name, section.model.revision).revision
        found["prompt.digest"] = digest_of(getattr(section, "tuned_prompt", section.prompt))
        for path in sorted((self.run.root / "seeds").glob("*.jsonl")):
            found[f"input.seeds/{path.stem}"] = file_digest(path)
        for tag in self.recipe.languages if round else ():
            for index in range(self.run.count("passage", tag) or 0):
                name = at("rated", round - 1)
                found[f"input.{name}/{tag}/{index:05d}"] = self.run.report(name, tag, index).digest
        return found

    def _section(self, role: str) -> Generate | Refine:
        return self.recipe.generate if role == "generator" else self.recipe.refine

    def _described(self, role: str, round: int) -> Callable[[Path, Tuned], None]:
        """What is told beside a model: what decided it, and what happened."""
        settings = self.settings(role, round)

        def write(model: Path, tuned: Tuned) -> None:
            (model / "tuned.json").write_text(json.dumps(asdict(tuned), indent=1), "utf-8")
            (model / MADE).write_text(json.dumps(settings, indent=1, ensure_ascii=False), "utf-8")

        return write

    def _seeds(self) -> None:
        """Take the seeds of every language that has any; files that are there from other settings are refused.

        Raises:
            CorpusError: no language has seeds.
            RunChanged: the seeds, or the settings by which they are taken, have changed.
        """
        settings = self.recipe.seeds
        found = 0
        for tag in settings.languages or self.recipe.languages:
            wanted = language(tag)
            sources = seed_files(settings.paths, wanted)
            out = self.run.root / "seeds" / f"{wanted.tag}.jsonl"
            if not sources:
                continue
            found += 1
            if out.exists():
                old = json.loads(out.with_suffix(".report.json").read_text("utf-8"))
                now = described(sources, settings)
                changed = [key for key in now if old.get(key) != now[key]]
                if not changed:
                    continue
                if not self.redo:
                    raise RunChanged(f"seeds of {wanted.tag}", [f"{key} changed" for key in changed])
            report = collect(sources, settings, wanted, out)
            self.say(f"seeds, {wanted.tag}: {report['kept']:,} of {report['rows_in']:,} rows")
        if not found:
            raise CorpusError(f"seeds.paths leads to no file for any language: {', '.join(settings.paths)}")

    def _pairs(self) -> list[Pair]:
        files = sorted((self.run.root / "seeds").glob("*.jsonl"))
        limit = self.recipe.seeds.max_row_bytes
        return [record for path in files for record in read_pairs(path, limit) if isinstance(record, Pair)]

    def _kept(self, round: int) -> Iterator[Pair]:
        """The pairs that a round kept."""
        for tag in self.recipe.languages:
            for index in range(self.run.count("passage", tag) or 0):
                for record in self.run.read(at("rated", round), tag, index):
                    assert isinstance(record, Rated)
                    yield Pair(
                        id=record.id,
                        instruction=record.instruction,
                        output=record.text,
                        language=record.language,
                        instruction_language=record.instruction_language,
                        source=record.source,
                        license=record.license,
                        url=record.url,
                    )

    def _writing(self, pairs: list[Pair], reader: Reader) -> list[Lesson]:
        from x_instruction.tuning.roles import writing

        return writing(pairs, self.recipe.generate, reader)

    def _rating(
        self, pairs: list[Pair], reader: Reader, describe: Callable[[Path, Tuned], None]
    ) -> tuple[list[Lesson], Callable[[Path, Tuned], None]]:
        """Lessons of the rater, and what calibrates it on pairs that it did not see."""
        from x_instruction.refine import calibration, labels, trained
        from x_instruction.tuning.roles import rating

        settings = self.recipe.refine
        training, development = labels.split(pairs, settings.development, self.recipe.seed)
        made = [
            labels.balance(
                labels.examples(part, settings.builders, settings.per_level, self.recipe.seed), self.recipe.seed
            )
            for part in (training, development)
        ]

        def finish(model: Path, tuned: Tuned) -> None:
            import dataclasses

            base = dataclasses.replace(settings.model, adapter=str(model))
            engine = open_engine(base)
            questions = [
                trained.question(e.text, e.language, e.instruction, e.instruction_language, settings, engine)
                for e in made[1]
            ]
            found = np.array(list(_chosen(engine, questions)))
            levels = np.array([labels.LEVELS.index(e.level) for e in made[1]])
            calibration.fit(found, levels).write(model)
            describe(model, tuned)

        return rating(made[0], settings, reader), finish


def _chosen(engine: Engine, questions: list[Choice]) -> Iterator[tuple[float, ...]]:
    answers: dict[int, tuple[float, ...]] = {}
    for batch in engine.plan(questions):
        for place, answer in engine.answer([questions[row] for row in batch.rows], batch.shared):
            if not isinstance(answer, Chosen):
                raise EngineError(f"the rater could not read a development pair: {answer}")
            answers[batch.rows[place]] = answer.probabilities
    return (answers[row] for row in range(len(questions)))
