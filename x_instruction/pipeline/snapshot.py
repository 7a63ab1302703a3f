"""A run folder at one moment: its complete shards, what the others are made from, and under which settings."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from typing import Any

from x_instruction import hashing
from x_instruction.config.diversify import Diversify
from x_instruction.config.generate import Generate
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import UNASKED, Refine
from x_instruction.config.section import Section
from x_instruction.engines.fingerprint import VERSIONS, fingerprint, located
from x_instruction.languages import language
from x_instruction.pipeline import blocks, rounds
from x_instruction.pipeline.rounds import ROLES, last_round
from x_instruction.pipeline.top_up import Steps
from x_instruction.prompts import digest_of
from x_instruction.storage.finished import Finished, files, fold
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, EMBEDDED, PASSAGE, ROUND_STAGES, ShardKey, StageKey


class Snapshot:
    """A run folder at one moment. Everything is looked up once, so take a new one when shards may have changed.

    Args:
        run: the run folder.
        settings: the recipe.
    """

    def __init__(self, run: RunFolder, settings: Recipe) -> None:
        self.run = run
        self.recipe = settings
        self.finished = Finished(run)
        self._counts: dict[tuple[StageKey, str], int | None] = {}
        self._shared: dict[tuple[StageKey, str], dict[str, Any]] = {}
        self._digests: dict[tuple[StageKey, str], str] = {}
        self._corpora: dict[str, dict[str, Any]] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self.steps = Steps(settings, self.finished)

    def count(self, stage: StageKey, tag: str) -> int | None:
        """How many shards the language has at this stage, or None while that is not known."""
        if (stage, tag) not in self._counts:
            self._counts[stage, tag] = self.run.count(stage, tag)
        return self._counts[stage, tag]

    def shards(self, stage: StageKey, tag: str) -> list[ShardKey]:
        """The shards that a stage has to make for a language, as far as their number is known."""
        if stage in (PASSAGE, CURATED):
            return [stage.shard(tag)]
        if self.steps.outdated(tag) or (stage == EMBEDDED and not self.embeds_shards(tag)):
            return []
        return [stage.shard(tag, index) for index in range(self.count(PASSAGE, tag) or 0)]

    def is_open(self, key: ShardKey) -> bool:
        """Whether a shard has to be made."""
        if key.stage == "passage":
            return self.count(PASSAGE, key.language) is None
        return not self.finished.complete(key)

    def inputs(self, key: ShardKey) -> list[ShardKey]:
        """The shards that a shard is made from; none for curated pairs while the number of rated shards is open."""
        if key.stage == "passage":
            return []
        if key.stage == "curated":
            rated = range((self.count(self.last_rated, key.language) or 0) if self._drawn(key.language) else 0)
            stages = [self.last_rated, *([EMBEDDED] if self.embeds_shards(key.language) else [])]
            return [stage.shard(key.language, index) for stage in stages for index in rated]
        if key.stage == "embedded":
            return [key.at(self.last_rated)]
        if key.stage == "rated":
            return [key.at(StageKey("candidate", key.round))]
        earlier = [StageKey(stage, key.round - 1) for stage in ("candidate", "rated") if key.round]
        return [key.at(stage) for stage in (PASSAGE, *earlier)]

    def _drawn(self, tag: str) -> bool:
        """Whether no more passages of a language are drawn, and all that are drawn are rated."""
        if self.recipe.diversify.target is None:
            return True
        drawn = self.steps.of(tag).final and not self.steps.outdated(tag)
        return drawn and self.count(self.last_rated, tag) == self.count(PASSAGE, tag)

    def inputs_complete(self, key: ShardKey) -> bool:
        """Whether everything that a shard is made from is there."""
        if key.stage == "passage":
            return True
        inputs = self.inputs(key)
        return bool(inputs) and all(map(self.finished.complete, inputs))

    @cached_property
    def last_rated(self) -> StageKey:
        """The last round of ratings."""
        return StageKey("rated", last_round(self.run, self.recipe))

    def embeds_shards(self, tag: str) -> bool:
        """Whether a language is so large that its rated shards are embedded one by one.

        False while too few of them are complete to tell.
        """
        rated = [self.last_rated.shard(tag, index) for index in range(self.count(PASSAGE, tag) or 0)]
        kept = (self.finished.summary(key).kept for key in rated if self.finished.complete(key))
        return len(rated) > 1 and any(rows > self.recipe.diversify.embed_shards_above for rows in accumulate(kept))

    def _largest_shard(self, tag: str) -> int:
        """Passages in the largest shard of a language."""
        shards = (PASSAGE.shard(tag, index) for index in range(self.count(PASSAGE, tag) or 0))
        return max((self.finished.summary(key).kept for key in shards), default=0)

    def settings(self, key: ShardKey) -> dict[str, Any]:
        """Everything that decides the content of a shard, as dotted keys."""
        inputs = self._input_digests(key)
        corpus = self._files[key.language] if key.stage == "passage" else {}
        return self._stage_settings(key) | inputs | corpus

    def unchanged(self, key: ShardKey) -> bool:
        """Whether a complete shard was made under the settings that it would be made under now."""
        place = (key.stage_key, key.language)
        if place not in self._digests:
            self._digests[place] = hashing.digest(self._stage_settings(key))
        kept = self.finished.summary(key)
        return kept.settings == self._digests[place] and kept.inputs == hashing.digest(self._input_digests(key))

    def _stage_settings(self, key: ShardKey) -> dict[str, Any]:
        """The settings that the shards of a language share at a stage."""
        place = (key.stage_key, key.language)
        if place not in self._shared:
            self._shared[place] = self._recorded(key)
        return self._shared[place]

    def _input_digests(self, key: ShardKey) -> dict[str, Any]:
        if key.stage == "passage":
            if key.language not in self._corpora:
                from x_instruction.corpus import sources

                corpus = sources.fingerprint(self.recipe.corpus, language(key.language))
                inputs = {f"input.{name}": digest for name, digest in corpus.items()}
                self._corpora[key.language], self._files[key.language] = fold(inputs), files(inputs)
            return self._corpora[key.language]
        # Embeddings follow from the rated shards and the encoder.
        made_from = (source for source in self.inputs(key) if source.stage_key != EMBEDDED)
        return fold({f"input.{source}": self.finished.summary(source).digest for source in made_from})

    def _recorded(self, key: ShardKey) -> dict[str, Any]:
        name = rounds.SECTIONS[key.stage]
        section = self._section(key)
        recorded = {f"{name}.{setting}": value for setting, value in fingerprint(section).items()}
        if key.stage == "embedded":
            # Neither quota nor selector changes an embedding.
            recorded = {setting: recorded[setting] for setting in ("diversify.embedder", "diversify.revision")}
        if key.stage == "curated" and self.embeds_shards(key.language):
            recorded["diversify.embedded"] = "by shard"
        if key.stage in ROUND_STAGES and self._largest_shard(key.language) > blocks.PASSAGES:
            recorded["stage.block"] = blocks.PASSAGES
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
            recorded[f"{name}.embedder.files"] = located(
                rounds.embedder_name(section.embedder), section.revision
            ).revision
        if isinstance(section, Refine) and section.rater in ("consensus", "combined"):
            recorded[f"{name}.embedder.files"] = located(
                rounds.embedder_name(section.embedder), section.embedder_revision
            ).revision
        if isinstance(section, Refine) and section.rater == "combined":
            from x_instruction.refine import combined

            recorded[f"{name}.weights.digest"] = combined.digest(section)
        return recorded

    def _section(self, key: ShardKey) -> Section:
        """The section of the recipe that a shard is made with, with the model that its round trains.

        Before that model is trained it is the recipe's own, so a shard of an earlier model differs.
        """
        if key.stage == "passage":
            return self.recipe.corpus.replace(passages=self.steps.of(key.language).passages)
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
