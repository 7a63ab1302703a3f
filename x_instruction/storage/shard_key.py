"""The identity of shards: which stage, which round, which language, which number.

A run folder holds one folder per stage. Candidates and ratings are made once per round, so they have a folder per round
below that::

    passage/sw/00000.parquet
    candidate/round-0/sw/00000.parquet
    rated/round-0/sw/00000.parquet
    curated/sw/00000.parquet

Large languages also have ``embedded/sw/00000.parquet``: the embeddings of that shard of the last rating.

From number 1,000 on, each thousand shards have a folder of their own, so that no folder gets too large::

    passage/sw/1000/01000.parquet
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from x_instruction.errors import RecipeError
from x_instruction.records import SHARDS, STAGES

# Stages that are made anew in every round of refinement.
ROUND_STAGES = ("candidate", "rated")
# Shards in one folder.
BLOCK = 1_000


@dataclass(frozen=True, slots=True, order=True)
class StageKey:
    """A stage, and for candidates and ratings the round in which it is made.

    Args:
        stage: ``passage``, ``candidate``, ``rated``, ``embedded`` or ``curated``, or ``screened`` for the slices of a
            corpus.
        round: from 0; always 0 except for candidates and ratings.

    Raises:
        RecipeError: there is no such stage, or the stage has no rounds.
    """

    stage: str
    round: int = 0

    def __post_init__(self) -> None:
        if self.stage not in SHARDS:
            raise RecipeError(f"stage is {self.stage!r}, expected one of {', '.join(STAGES)}")
        if self.round and self.stage not in ROUND_STAGES:
            raise RecipeError(f"round is {self.round}, expected 0: the stage {self.stage} has no rounds")

    @property
    def path(self) -> PurePosixPath:
        """The folder of the stage, relative to the run folder."""
        folder = ".screened" if self.stage == "screened" else self.stage
        return PurePosixPath(f"{folder}/round-{self.round}" if self.stage in ROUND_STAGES else folder)

    def shard(self, language: str, index: int = 0) -> ShardKey:
        """The key of one of its shards."""
        return ShardKey(self.stage, self.round, language, index)

    def __str__(self) -> str:
        return f"{self.stage}, round {self.round}" if self.round else self.stage


@dataclass(frozen=True, slots=True, order=True)
class ShardKey:
    """One shard of a run.

    Args:
        stage: ``passage``, ``candidate``, ``rated``, ``embedded`` or ``curated``.
        round: the round of refinement, from 0; always 0 except for candidates and ratings.
        language: tag of the language.
        index: number of the shard within its language, from 0.
    """

    stage: str
    round: int
    language: str
    index: int

    @property
    def stage_key(self) -> StageKey:
        """The stage and round that the shard belongs to."""
        return StageKey(self.stage, self.round)

    @property
    def folder(self) -> str:
        """The folder of the shard, relative to the run folder."""
        block = self.index // BLOCK * BLOCK
        return f"{self.stage_key.path}/{self.language}" + (f"/{block}" if block else "")

    def at(self, stage: StageKey) -> ShardKey:
        """The shard of the same language and number at another stage."""
        return stage.shard(self.language, self.index)

    def __str__(self) -> str:
        return f"{self.stage_key.path}/{self.language}/{self.index:05d}"


PASSAGE = StageKey("passage")
EMBEDDED = StageKey("embedded")
# The slices of a corpus, made before its passages and removed after them.
SLICE = StageKey("screened")
CURATED = StageKey("curated")
