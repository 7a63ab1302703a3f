"""The models that a run trains for itself: its generator and its rater, anew for every round.

    <run>/seeds/sw.jsonl             seed pairs of a language, with a report and the dropped rows beside it
    <run>/models/generator-0/        an adapter or all weights; a folder that exists is complete
    <run>/models/rater-1/            likewise, with ``calibration.json``

Like the report of a shard, ``made.json`` of a model holds the settings that affect it. A model that was trained under
other settings is refused, or trained again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from x_instruction import hashing
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import Refine
from x_instruction.config.training import TrainConfig
from x_instruction.engines import Choice, Chosen, Engine, Failed, open_engine
from x_instruction.engines.fingerprint import VERSIONS, fingerprint
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import CorpusError, Difference, EngineError, RunChanged, differences
from x_instruction.languages import Language, language
from x_instruction.pipeline.rounds import base_of, folder, started
from x_instruction.pipeline.weak_texts import weak_texts
from x_instruction.prompts import digest_of
from x_instruction.records import Rated
from x_instruction.refine import label_files, labels
from x_instruction.refine.labels import Example
from x_instruction.seed.collect import collect, provenance
from x_instruction.seed.files import seed_files
from x_instruction.seed.pairs import Pair, read_pairs
from x_instruction.storage.atomic import file_digest
from x_instruction.storage.run_folder import RunFolder, table_of
from x_instruction.storage.shard_key import PASSAGE, ShardKey, StageKey
from x_instruction.training.job import RESULT, TrainingExample, TrainJob, TrainResult
from x_instruction.training.launch import launch
from x_instruction.training.record import training_record, write_record

if TYPE_CHECKING:
    from x_instruction.training.tokenization import ExampleEncoder

MADE = "made.json"
_TASKS: dict[str, Literal["instructions", "ratings"]] = {"generator": "instructions", "rater": "ratings"}


def made(model: Path) -> dict[str, Any]:
    """The settings that a model of a run was trained under.

    Raises:
        ShardError: their file is missing or damaged.
    """
    return table_of(model / MADE, f"remove {model} and run again")


class Models:
    """The trained models of a run.

    Args:
        run: the run folder.
        settings: the recipe.
        overwrite: train models again that were trained under other settings, instead of refusing.
        log: called with one line per event.
    """

    def __init__(self, run: RunFolder, settings: Recipe, overwrite: bool, log: Callable[[str], None]) -> None:
        self.run = run
        self.recipe = settings
        self.overwrite = overwrite
        self.log = log
        # Seed sources are compared once: reading them again for every model of every round would take minutes.
        self._collected = False

    def ready(self, role: str, round: int, free_memory: Callable[[], None] = lambda: None) -> list[Path]:
        """Train what is missing of the models of a role in a round.

        Args:
            role: ``generator`` or ``rater``.
            round: from 0.
            free_memory: called before a model is trained.

        Returns:
            The folders of the models: one, or one per language.

        Raises:
            RunChanged: a model was trained under other settings, and ``overwrite`` is not set.
            CorpusError: there are no seeds, or none of a language that has a model of its own.
            TrainingError: a model cannot be trained; the message says why.
        """
        self.seeds()
        if role == "rater" and self._starts_the_rater():
            self.ready("generator", round, free_memory)
        tags = self._tags(role)
        for tag in tags:
            if self._open(role, round, tag):
                free_memory()
                self._make(role, round, tag)
            self.run.keep_model(folder(self.run, role, round, tag).name)
        return [folder(self.run, role, round, tag) for tag in tags]

    def missing(self, role: str, round: int) -> list[Path]:
        """Folders of the models of a role in a round that do not exist yet. Nothing is trained.

        Raises:
            RunChanged: a model was trained under other settings.
        """
        return [folder(self.run, role, round, tag) for tag in self._tags(role) if self._open(role, round, tag)]

    def _tags(self, role: str) -> tuple[str, ...]:
        """The languages that have a model of their own; an empty tag means one model for all languages."""
        return tuple(self.recipe.languages) if self._tune(role).per_language else ("",)

    def _open(self, role: str, round: int, tag: str) -> bool:
        """Whether a model has to be trained; one that was trained under other settings is removed."""
        target = folder(self.run, role, round, tag)
        if not target.is_dir():
            return True
        old = made(target)
        changed = differences(old, self.settings(role, round, tag))
        if changed and not self.overwrite:
            raise RunChanged(f"model {target.name}", changed)
        if changed:
            self.run.remove_model(target.name)
        return bool(changed)

    def _make(self, role: str, round: int, tag: str) -> None:
        """Train a model, and calibrate it if it rates. After a kill, the next call continues from a checkpoint."""
        from x_instruction.training.tokenization import ExampleEncoder

        section = self._section(role)
        target = folder(self.run, role, round, tag)
        base = base_of(section)
        reader = ExampleEncoder(base.name, base.revision)
        pairs = self._pairs(role, round, tag)
        if not pairs:
            raise CorpusError(self._none(role, tag))
        describe = self._described(role, round, tag, pairs)
        if role == "generator":
            examples, finish = self._writing(pairs, reader), describe
        else:
            examples, finish = self._rating(pairs, round, tag, reader, describe)
        self.log(f"{target.name}: training on {len(examples):,} rows")
        tuned = launch(TrainJob(model=self._start(role, round, tag), train=self._whole(role)), examples, target, finish)
        self.log(f"{target.name}: {tuned.steps:,} steps, {tuned.seconds:,.0f} s, loss {tuned.loss:.3f}")

    def settings(self, role: str, round: int, tag: str = "") -> dict[str, Any]:
        """The settings that affect a trained model, as dotted keys."""
        section = self._section(role)
        start = fingerprint(self._start(role, round, tag))
        recorded = fingerprint(section, "model") | {f"model.{key}": value for key, value in start.items()}
        recorded["version"] = VERSIONS[role]
        recorded["seed"] = self.recipe.seed
        recorded["prompt.digest"] = digest_of(getattr(section, "trained_prompt", section.prompt))
        if role == "rater" and set(labels.WEAK_STRATEGIES) & set(self.recipe.refine.label_strategies):
            recorded |= {f"weak.{key}": value for key, value in fingerprint(self._weaker_writer()).items()}
            recorded["weak.prompt.digest"] = digest_of(self.recipe.generate.prompt)
        if role == "generator" and self._starts_the_rater():
            recorded["validation"] = self.recipe.refine.validation
        if role == "generator" and round:
            recorded["kept_per_seed"] = self.recipe.refine.kept_per_seed
        for number, name in enumerate(self.recipe.refine.label_files if role == "rater" else ()):
            recorded[f"input.labels/{number}-{Path(name).name}"] = file_digest(Path(name))
        for path in self._files(tag):
            recorded[f"input.seeds/{path.stem}"] = file_digest(path)
        for key in self._rated(round - 1, tag) if round else ():
            recorded[f"input.{key}"] = self.run.report(key).digest
        return recorded

    def _start(self, role: str, round: int, tag: str) -> Model:
        """The model that training starts from."""
        model = base_of(self._section(role))
        if role == "generator" or not self._starts_the_rater():
            return model
        return started(self.run, self.recipe, round, tag)

    def _starts_the_rater(self) -> bool:
        """Whether the rater starts from the generator, which then must not see the documents that calibrate it."""
        return self.recipe.refine.init_from == "generator"

    def _tune(self, role: str) -> TrainConfig:
        return cast(TrainConfig, self._section(role).train)

    def _whole(self, role: str) -> TrainConfig:
        """How a role is trained. Its rows are truncated already, so none is left out for its length."""
        return self._tune(role).replace(length_percentile=100.0)

    def _files(self, tag: str) -> list[Path]:
        """The seed files of one language, or of all. Files of languages that the recipe does not name are ignored."""
        tags = {language(name).tag for name in self.recipe.seeds.languages or self.recipe.languages}
        files = (self.run.root / "seeds" / f"{name}.jsonl" for name in sorted(tags) if tag in ("", name))
        return [path for path in files if path.exists()]

    def _section(self, role: str) -> Generate | Refine:
        return self.recipe.generate if role == "generator" else self.recipe.refine

    def _described(self, role: str, round: int, tag: str, pairs: list[Pair]) -> Callable[[Path, TrainResult], None]:
        """A function that writes the records of a model into its folder: its settings, and how training went."""
        settings = self.settings(role, round, tag)

        def write(model: Path, tuned: TrainResult) -> None:
            (model / RESULT).write_text(json.dumps(asdict(tuned), indent=1), "utf-8")
            made = TrainJob(model=base_of(self._section(role)), train=self._whole(role))
            names = " + ".join(sorted({pair.source for pair in pairs}))
            digest = f"sha256:{hashing.digest(settings)}"
            write_record(model, training_record(made, tuned, pairs, names, digest, self.recipe, task=_TASKS[role]))
            (model / MADE).write_text(json.dumps(settings, indent=1, ensure_ascii=False), "utf-8")

        return write

    def seeds(self) -> None:
        """Collect the seeds of every language that has any. Files of other settings are refused, or replaced.

        Raises:
            CorpusError: no language has seeds.
            RunChanged: the seeds, or their settings, have changed.
        """
        if self._collected:
            return
        settings = self.recipe.seeds
        by_language = {
            tag: seed_files(settings.paths, language(tag)) for tag in settings.languages or self.recipe.languages
        }
        for tag, sources in by_language.items():
            if sources:
                self._collect(language(tag), sources)
        if not any(by_language.values()):
            raise CorpusError(f"seeds.paths leads to no file for any language: {', '.join(settings.paths)}")
        for role in ("generator", "rater"):
            tune = self._section(role).train
            for tag in self.recipe.languages if tune and tune.per_language else ():
                if not any(path.stat().st_size for path in self._files(tag)):
                    raise CorpusError(self._none(role, tag))
        self._collected = True

    def _collect(self, of: Language, sources: list[Path]) -> None:
        """Collect the seeds of one language, unless its file is there from the same sources and settings."""
        settings = self.recipe.seeds
        out = self.run.root / "seeds" / f"{of.tag}.jsonl"
        if out.exists():
            old = table_of(out.with_suffix(".report.json"), f"remove {out.name} and run again")
            now = provenance(sources, settings)
            changed = [key for key in now if old.get(key) != now[key]]
            if not changed:
                return
            if not self.overwrite:
                raise RunChanged(f"seeds of {of.tag}", [Difference(key) for key in changed])
        report = collect(sources, settings, of, out)
        self.log(f"seeds, {of.tag}: {report['kept']:,} of {report['rows_in']:,} rows")

    def _none(self, role: str, tag: str) -> str:
        section = "generate" if role == "generator" else "refine"
        needed = f" of {tag}, which {section}.train.per_language needs" if tag else ""
        return f"no seed was kept in {self.run.root / 'seeds'}{needed}: see the reports in that folder for the reasons"

    def _pairs(self, role: str, round: int, tag: str) -> list[Pair]:
        """What a role is trained on: seeds, and kept pairs of the round before, of one language or of all."""
        seeds = self._seeds(tag)
        if role == "generator" and self._starts_the_rater():
            # The rater is calibrated on documents that none of its weights have been trained on.
            return self._training_part(seeds, round, tag)
        return seeds + (self._best_kept(round - 1, tag, len(seeds)) if round else [])

    def _seeds(self, tag: str) -> list[Pair]:
        """The seeds of one language or of all."""
        limit = self.recipe.seeds.max_row_bytes
        read = [record for path in self._files(tag) for record in read_pairs(path, limit)]
        return [record for record in read if isinstance(record, Pair)]

    def _training_part(self, seeds: list[Pair], round: int, tag: str) -> list[Pair]:
        """The seeds that calibrate no rater, and kept pairs of other documents than those that do."""
        training, validation = labels.split(seeds, self.recipe.refine.validation, self.recipe.seed)
        held_out = {pair.document for pair in validation}
        kept = self._best_kept(round - 1, tag, len(seeds)) if round else []
        return training + [pair for pair in kept if pair.document not in held_out]

    def _best_kept(self, round: int, only: str, seeds: int) -> list[Pair]:
        """The best pairs that a round kept, at most ``refine.kept_per_seed`` for each seed, as many of each language.

        They are the rater's own guesses, so they must not outnumber what is known to be good.
        """
        tags = [only] if only else list(self.recipe.languages)
        most = int(self.recipe.refine.kept_per_seed * seeds / len(tags))
        best: list[Pair] = []
        for tag in tags:
            kept = sorted(self._kept(round, tag), key=lambda scored: (-scored[0], scored[1].id))
            best += [pair for _, pair in kept[:most]]
        return best

    def _kept(self, round: int, only: str) -> Iterator[tuple[float, Pair]]:
        """The pairs that a round kept in one language, with their scores."""
        for key in self._rated(round, only):
            for record in self.run.read(key):
                assert isinstance(record, Rated)
                pair = Pair(
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
                yield record.score, pair

    def _rated(self, round: int, only: str) -> Iterator[ShardKey]:
        """The rated shards of a round, of one language or of all."""
        for tag in [only] if only else self.recipe.languages:
            yield from (key.at(StageKey("rated", round)) for key in self.run.shards(PASSAGE, tag))

    def _writing(self, pairs: list[Pair], reader: ExampleEncoder) -> list[TrainingExample]:
        from x_instruction.training.roles import generator_examples

        return generator_examples(pairs, self.recipe.generate, reader)

    def _rating(
        self,
        pairs: list[Pair],
        round: int,
        tag: str,
        reader: ExampleEncoder,
        describe: Callable[[Path, TrainResult], None],
    ) -> tuple[list[TrainingExample], Callable[[Path, TrainResult], None]]:
        """The training examples of the rater, and a function that calibrates it on pairs that it was not trained on."""
        from x_instruction.training.roles import rater_examples

        settings, start = self.recipe.refine, self._start("rater", round, tag)
        seed = self.recipe.seed
        weak = self._weak_texts(pairs)
        # In every round, what calibrates are seeds: the quality of kept pairs is only guessed.
        seeds = self._seeds(tag)
        validation_seeds = labels.split(seeds, settings.validation, seed)[1]
        training_part, validation_part = (
            labels.balance(labels.examples(part, settings.label_strategies, settings.per_level, seed, weak), seed)
            for part in (self._training_part(seeds, round, tag), validation_seeds)
        )
        training_part, validation_part = self._with_judged(training_part, validation_part, pairs)

        def finish(model: Path, tuned: TrainResult) -> None:
            trained = settings.replace(model=self._tune("rater").trained(start, model), train=None)
            engine = open_engine(trained.rater_model)
            _calibrate(validation_part, trained, engine, model)
            # Also for the rater ``trained``: a run with the other rater may take the model over.
            if engine.capabilities >= {"choose", "score"}:
                _combine(validation_part, trained, engine, model)
            describe(model, tuned)

        return rater_examples(training_part, settings, reader), finish

    def _with_judged(
        self, training: list[Example], validation: list[Example], pairs: list[Pair]
    ) -> tuple[list[Example], list[Example]]:
        """Examples with those that people judged, of the languages of the pairs if each has a rater of its own."""
        refine, seed = self.recipe.refine, self.recipe.seed
        tags = {pair.language for pair in pairs} if self._tune("rater").per_language else None
        judged = [
            example
            for path in refine.label_files
            for example in label_files.read(Path(path))
            if tags is None or example.language in tags
        ]
        if not judged:
            return training, validation
        more_training, more_validation = labels.split(judged, refine.validation, seed)
        return (
            labels.balance([*training, *more_training], seed),
            labels.balance([*validation, *more_validation], seed),
        )

    def _weak_texts(self, pairs: list[Pair]) -> dict[str, dict[str, str]]:
        """Texts of the untrained generator for the label strategies that need them."""
        refine, writer = self.recipe.refine, self._weaker_writer()
        strategies = [name for name in labels.WEAK_STRATEGIES if name in refine.label_strategies]
        cache = self.run.root / "cache" / "weaker.sqlite"
        return weak_texts(pairs, strategies, writer, refine.response_tokens, self.recipe.seed, cache)

    def _weaker_writer(self) -> Generate:
        return self.recipe.generate.replace(candidates=1, train=None, length_hint=0.0)


def _calibrate(pairs: Sequence[labels.Example], settings: Refine, engine: Engine, model: Path) -> None:
    """Write the calibration of a trained rater into its folder."""
    from x_instruction.refine import calibration, trained

    questions = [
        trained.question(e.text, e.language, e.instruction, e.instruction_language, settings, engine) for e in pairs
    ]
    levels = np.array([labels.LEVELS.index(e.level) for e in pairs])
    calibration.fit(np.array(_chosen(engine, questions)), levels, settings.prior).write(model)


def _combine(pairs: Sequence[labels.Example], settings: Refine, engine: Engine, model: Path) -> None:
    """Write the weights of the rater ``combined`` into the folder of its model.

    Pairs of known levels have no other candidates, so the weight of ``consensus`` is the included one.
    """
    from x_instruction.refine import combined
    from x_instruction.refine.compare import candidate

    names = ("trained", "contrastive", "pmi")
    candidates = [candidate(example, number) for number, example in enumerate(pairs)]
    with RequestCache(Path(":memory:"), engine, {}) as cache:
        measured = combined.features(candidates, names, settings, engine, cache.ask)
    rows = [(row, e) for row, e in zip(measured, pairs, strict=True) if not isinstance(row, Failed)]
    found = combined.fit([row for row, _ in rows], names, [e.level == "best" for _, e in rows], settings.prior)
    combined.write([combined.with_consensus(found)], "validation pairs of the seeds", model / combined.FILE)


def _chosen(engine: Engine, questions: list[Choice]) -> list[tuple[float, ...]]:
    """The probabilities of the levels for each question."""
    with RequestCache(Path(":memory:"), engine, {}) as cache:
        answers = cache.ask(questions)
    failed = [answer for answer in answers if not isinstance(answer, Chosen)]
    if failed:
        raise EngineError(f"the rater could not read {len(failed)} of {len(answers)} validation pairs: {failed[0]}")
    return [answer.probabilities for answer in answers if isinstance(answer, Chosen)]
