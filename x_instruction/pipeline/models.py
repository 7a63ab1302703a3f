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
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from x_instruction import hashing
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import Refine
from x_instruction.config.section import flatten
from x_instruction.config.training import TrainConfig
from x_instruction.engines import Choice, Chosen, Completed, Completion, Engine, open_engine
from x_instruction.engines.models import locate
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import CorpusError, Difference, EngineError, RunChanged
from x_instruction.generate import generate
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.pipeline.plan import differences
from x_instruction.pipeline.rounds import folder, started
from x_instruction.pipeline.worker import PLACE, identity
from x_instruction.prompts import digest_of
from x_instruction.prompts.answer import frame
from x_instruction.records import Candidate, Passage, Rated, text_digest
from x_instruction.refine import labels
from x_instruction.seed.collect import collect, provenance
from x_instruction.seed.files import seed_files
from x_instruction.seed.pairs import Pair, read_pairs
from x_instruction.storage.atomic import file_digest
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import PASSAGE, ShardKey, StageKey
from x_instruction.training import job
from x_instruction.training.job import TrainingExample, TrainJob, TrainResult
from x_instruction.training.launch import launch
from x_instruction.training.record import training
from x_instruction.training.record import write as write_record

if TYPE_CHECKING:
    from x_instruction.training.tokenization import Reader

MADE = "made.json"
# Raised when a role's code changes what it learns, so that old models are noticed.
VERSIONS = {"generator": 1, "rater": 1}
# Keys of the section that decide what the model learns.
_LEARNT = {
    "generator": ("passage_tokens", "tuned_prompt"),
    "rater": ("builders", "per_level", "development", "response_tokens", "prompt", "start"),
}
_TASKS: dict[str, Literal["instructions", "ratings"]] = {"generator": "instructions", "rater": "ratings"}


class Models:
    """The tuned models of a run.

    Args:
        redo: make models again that were made under other settings, instead of refusing.
        say: tells a person what happens.
    """

    def __init__(self, run: RunFolder, settings: Recipe, redo: bool, say: Callable[[str], None]) -> None:
        self.run = run
        self.recipe = settings
        self.redo = redo
        self.say = say
        # Sources are compared once: reading them all again for every model of every round would take minutes.
        self._taken = False

    def ready(self, role: str, round: int, rest: Callable[[], None] = lambda: None) -> list[Path]:
        """Make what is missing of a role's models in a round; their folders.

        Args:
            role: ``generator`` or ``rater``.
            round: from 0.
            rest: called before a model is made.

        Raises:
            RunChanged: a model was made under other settings, and nobody said to make it again.
            CorpusError: there are no seeds, or none of a language that has a model of its own.
            TuningError: a model cannot be tuned; the message says why.
        """
        self.seeds()
        if role == "rater" and self._starts_the_rater():
            self.ready("generator", round, rest)
        tags = self.recipe.languages if self._tune(role).per_language else ("",)
        for tag in tags:
            if self._open(role, round, tag):
                rest()
                self._make(role, round, tag)
        return [folder(self.run, role, round, tag) for tag in tags]

    def _open(self, role: str, round: int, tag: str) -> bool:
        """Whether a model has to be made; one that was made under other settings is removed."""
        target = folder(self.run, role, round, tag)
        if not target.is_dir():
            return True
        old = json.loads((target / MADE).read_text("utf-8"))
        found = differences(old, self.settings(role, round, tag))
        if found and not self.redo:
            raise RunChanged(f"model {target.name}", found)
        if found:
            shutil.rmtree(target)
        return bool(found)

    def _make(self, role: str, round: int, tag: str) -> None:
        """Tune a model, and calibrate it if it rates; killed at any moment, the next call goes on."""
        from x_instruction.training.tokenization import Reader

        section = self._section(role)
        target = folder(self.run, role, round, tag)
        reader = Reader(section.model.name, section.model.revision)
        pairs = self._pairs(role, round, tag)
        if not pairs:
            raise CorpusError(self._none(role, tag))
        describe = self._described(role, round, tag, pairs)
        if role == "generator":
            lessons, finish = self._writing(pairs, reader), describe
        else:
            lessons, finish = self._rating(pairs, reader, self._start(role, round, tag), describe)
        self.say(f"{target.name}: tuning on {len(lessons):,} rows")
        tuned = launch(TrainJob(model=self._start(role, round, tag), tune=self._whole(role)), lessons, target, finish)
        self.say(f"{target.name}: {tuned.steps:,} steps, {tuned.seconds:,.0f} s, loss {tuned.loss:.3f}")

    def settings(self, role: str, round: int, tag: str = "") -> dict[str, Any]:
        """Everything that decides a model, as dotted keys."""
        section = self._section(role)
        found = {f"tune.{key}": value for key, value in flatten(self._tune(role)).items() if key not in job.PLACE}
        found |= {key: value for key, value in flatten(section).items() if key in _LEARNT[role]}
        found["version"] = VERSIONS[role]
        found["seed"] = self.recipe.seed
        found["model.files"] = locate(section.model.name, section.model.revision).revision
        found["prompt.digest"] = digest_of(getattr(section, "tuned_prompt", section.prompt))
        if role == "rater" and section.model != (start := self._start(role, round, tag)):
            found["start.files"] = locate(start.adapter or start.name).revision
        if role == "rater" and set(labels.WEAKER) & set(self.recipe.refine.builders):
            found |= {
                f"weaker.{k}": v for k, v in flatten(self._weaker_writer()).items() if k.split(".")[-1] not in PLACE
            }
            found["weaker.prompt.digest"] = digest_of(self.recipe.generate.prompt)
            found["weaker.response_tokens"] = self.recipe.refine.response_tokens
        if role == "generator" and self._starts_the_rater():
            found["development"] = self.recipe.refine.development
        for path in self._files(tag):
            found[f"input.seeds/{path.stem}"] = file_digest(path)
        for key in self._rated(round - 1, tag) if round else ():
            found[f"input.{key}"] = self.run.report(key).digest
        return found

    def _start(self, role: str, round: int, tag: str) -> Model:
        """What a model is tuned from."""
        model = self._section(role).model
        if role == "generator" or not self._starts_the_rater():
            return model
        return started(self.run, self.recipe, round, tag)

    def _starts_the_rater(self) -> bool:
        """Whether the rater is tuned on from the generator; variants without one hold out the same documents."""
        return self.recipe.refine.start == "generator"

    def _tune(self, role: str) -> TrainConfig:
        return cast(TrainConfig, self._section(role).tune)

    def _whole(self, role: str) -> TrainConfig:
        """How a role is tuned: what it reads is cut to length already, and half an answer teaches nothing."""
        return self._tune(role).replace(length_percentile=100.0)

    def _files(self, tag: str) -> list[Path]:
        """Files of seeds, of one language or of all; what an earlier recipe took from others is left alone."""
        tags = {language(name).tag for name in self.recipe.seeds.languages or self.recipe.languages}
        files = (self.run.root / "seeds" / f"{name}.jsonl" for name in sorted(tags) if tag in ("", name))
        return [path for path in files if path.exists()]

    def _section(self, role: str) -> Generate | Refine:
        return self.recipe.generate if role == "generator" else self.recipe.refine

    def _described(self, role: str, round: int, tag: str, pairs: list[Pair]) -> Callable[[Path, TrainResult], None]:
        """What is told beside a model: what decided it, and what happened."""
        settings = self.settings(role, round, tag)

        def write(model: Path, tuned: TrainResult) -> None:
            (model / "tuned.json").write_text(json.dumps(asdict(tuned), indent=1), "utf-8")
            made = TrainJob(model=self._section(role).model, tune=self._whole(role))
            names = " + ".join(sorted({pair.source for pair in pairs}))
            digest = f"sha256:{hashing.digest(settings)}"
            write_record(model, training(made, tuned, pairs, names, digest, self.recipe, task=_TASKS[role]))
            (model / MADE).write_text(json.dumps(settings, indent=1, ensure_ascii=False), "utf-8")

        return write

    def seeds(self) -> None:
        """Take the seeds of every language that has any; files that are there from other settings are refused.

        Raises:
            CorpusError: no language has seeds.
            RunChanged: the seeds, or the settings by which they are taken, have changed.
        """
        if self._taken:
            return
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
                now = provenance(sources, settings)
                changed = [key for key in now if old.get(key) != now[key]]
                if not changed:
                    continue
                if not self.redo:
                    raise RunChanged(f"seeds of {wanted.tag}", [Difference(key) for key in changed])
            report = collect(sources, settings, wanted, out)
            self.say(f"seeds, {wanted.tag}: {report['kept']:,} of {report['rows_in']:,} rows")
        if not found:
            raise CorpusError(f"seeds.paths leads to no file for any language: {', '.join(settings.paths)}")
        for role in ("generator", "rater"):
            tune = self._section(role).tune
            for tag in self.recipe.languages if tune and tune.per_language else ():
                if not any(path.stat().st_size for path in self._files(tag)):
                    raise CorpusError(self._none(role, tag))
        self._taken = True

    def _none(self, role: str, tag: str) -> str:
        section = "generate" if role == "generator" else "refine"
        wants = f" of {tag}, and {section}.tune.per_language wants some" if tag else ""
        return f"no seed was kept in {self.run.root / 'seeds'}{wants}; its reports say why"

    def _pairs(self, role: str, round: int, tag: str) -> list[Pair]:
        """Seeds, and what the round before kept, of one language or of all."""
        limit = self.recipe.seeds.max_row_bytes
        read = [record for path in self._files(tag) for record in read_pairs(path, limit)]
        pairs = [record for record in read if isinstance(record, Pair)] + list(
            self._kept(round - 1, tag) if round else ()
        )
        if role == "generator" and self._starts_the_rater():
            # The rater is calibrated on documents that nothing in it has seen.
            return labels.split(pairs, self.recipe.refine.development, self.recipe.seed)[0]
        return pairs

    def _kept(self, round: int, only: str) -> Iterator[Pair]:
        """The pairs that a round kept, of one language or of all."""
        for key in self._rated(round, only):
            for record in self.run.read(key):
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
                    document_id=record.document_id,
                )

    def _rated(self, round: int, only: str) -> Iterator[ShardKey]:
        """The rated shards of a round, of one language or of all."""
        for tag in [only] if only else self.recipe.languages:
            yield from (key.at(StageKey("rated", round)) for key in self.run.shards(PASSAGE, tag))

    def _writing(self, pairs: list[Pair], reader: Reader) -> list[TrainingExample]:
        from x_instruction.training.roles import writing

        return writing(pairs, self.recipe.generate, reader)

    def _rating(
        self, pairs: list[Pair], reader: Reader, start: Model, describe: Callable[[Path, TrainResult], None]
    ) -> tuple[list[TrainingExample], Callable[[Path, TrainResult], None]]:
        """Lessons of the rater, and what calibrates it on pairs that it did not see."""
        from x_instruction.refine import calibration, trained
        from x_instruction.training.roles import rating

        settings = self.recipe.refine
        seed = self.recipe.seed
        weaker = self._weaker(pairs, [name for name in labels.WEAKER if name in settings.builders])
        made = [
            labels.balance(labels.examples(part, settings.builders, settings.per_level, seed, weaker), seed)
            for part in labels.split(pairs, settings.development, seed)
        ]

        def finish(model: Path, tuned: TrainResult) -> None:
            engine = open_engine(self._tune("rater").tuned(start, model))
            questions = [
                trained.question(e.text, e.language, e.instruction, e.instruction_language, settings, engine)
                for e in made[1]
            ]
            found = np.array(_chosen(engine, questions))
            levels = np.array([labels.LEVELS.index(e.level) for e in made[1]])
            calibration.fit(found, levels).write(model)
            describe(model, tuned)

        return rating(made[0], settings, reader), finish

    def _weaker(self, pairs: list[Pair], names: list[str]) -> dict[str, dict[str, str]]:
        """What the untuned generator writes, prompted, for each pair; answers are remembered.

        Returns:
            By builder and ``labels.key``: an instruction for the response, or an answer to the instruction.
        """
        if not names:
            return {}
        write = self._weaker_writer()
        make = {"weaker": self._instructed, "weaker-answer": self._answered}
        with RequestCache(
            self.run.root / "cache" / "weaker.sqlite", open_engine(write.model), identity(write.model)
        ) as ledger:
            return {name: make[name](pairs, write, ledger) for name in names}

    def _instructed(self, pairs: list[Pair], write: Generate, ledger: RequestCache) -> dict[str, str]:
        by_tag: dict[str, list[Passage]] = {}
        for pair in pairs:
            by_tag.setdefault(pair.language, []).append(_passage(pair, labels.key(pair)))
        return {
            made.id: made.instruction
            for rows in by_tag.values()
            for made in generate(rows, write, ledger.engine, ledger.ask, self.recipe.seed)
            if isinstance(made, Candidate)
        }

    def _answered(self, pairs: list[Pair], write: Generate, ledger: RequestCache) -> dict[str, str]:
        """Answers, in the language of the response as far as asking for it helps."""
        ask = frame("auto", ledger.engine.chat)
        asked = [
            Completion(
                prompt=ask(f"{pair.asked} Answer in {language(pair.language).name}."),
                max_tokens=self.recipe.refine.response_tokens,
                temperature=write.temperature,
                top_p=write.top_p,
                top_k=write.top_k,
                seed=derive_seed(self.recipe.seed, "answer", labels.key(pair)),
            )
            for pair in pairs
        ]
        answers = zip(pairs, ledger.ask(asked), strict=True)
        return {labels.key(pair): answer.text for pair, answer in answers if isinstance(answer, Completed)}

    def _weaker_writer(self) -> Generate:
        return self.recipe.generate.replace(candidates=1, tune=None, length_hint=0.0)


def _passage(pair: Pair, id: str) -> Passage:
    """A seed's response as something to write an instruction for."""
    return Passage(
        id=id,
        language=pair.language,
        text=pair.output,
        document_id=pair.id,
        segment=0,
        source=pair.source,
        url=pair.url,
        license=pair.license,
        text_hash=text_digest(pair.output),
        identified=pair.language,
        identified_confidence=1.0,
    )


def _chosen(engine: Engine, questions: list[Choice]) -> list[tuple[float, ...]]:
    with RequestCache(Path(":memory:"), engine, {}) as ledger:
        answers = ledger.ask(questions)
    found = [answer.probabilities for answer in answers if isinstance(answer, Chosen)]
    if len(found) < len(answers):
        lost = next(answer for answer in answers if not isinstance(answer, Chosen))
        raise EngineError(f"the rater could not read a development pair: {lost}")
    return found
