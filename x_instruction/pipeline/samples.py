"""What became of every candidate for a few passages, collected from the shards of a preview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from x_instruction.records import Candidate, Curated, Passage, Rated
from x_instruction.refine import scores
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, PASSAGE, ShardKey, StageKey


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate for a passage and what became of it.

    Args:
        number: of the candidate.
        text: the instruction, or what the model wrote if it is not one.
        score: of the rater; None if it was not rated.
        rank: by score, from 1; None if it was not rated.
        reason: why it was dropped; empty for the chosen one.
    """

    number: int
    text: str
    score: float | None
    rank: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A passage with its candidates, the best ones first."""

    passage: Passage
    candidates: tuple[Choice, ...]


def samples(run: RunFolder, tag: str) -> list[Sample]:
    """The passages of a language in the folder of a preview, with their candidates."""
    candidate, rated = StageKey("candidate"), StageKey("rated")
    written = cast(list[Candidate], _kept(run, candidate.shard(tag)))
    kept = cast(list[Rated], _kept(run, rated.shard(tag)))
    chosen = {(row.id, row.candidate) for row in cast(list[Curated], _kept(run, CURATED.shard(tag)))}
    lost = {row.id: row for key in (candidate, rated) for row in run.dropped(key.shard(tag))}
    undiverse = {row.id: row.reason for row in run.dropped(CURATED.shard(tag))}
    found = {f"{row.id}-{row.candidate}": row.score for row in kept} | scores(lost.values())
    texts = {f"{row.id}-{row.candidate}": row.instruction for row in written}
    found_samples = []
    for passage in _kept(run, PASSAGE.shard(tag)):
        names = [name for name in texts.keys() | lost.keys() if name.rpartition("-")[0] == passage.id]
        ranked = sorted(names, key=lambda name: (-found.get(name, float("-inf")), int(name.rpartition("-")[2])))
        found_samples.append(
            Sample(
                passage,
                tuple(
                    Choice(
                        number := int(name.rpartition("-")[2]),
                        texts[name] if name in texts else lost[name].text or lost[name].detail,
                        found.get(name),
                        place if name in found else None,
                        ""
                        if (passage.id, number) in chosen
                        else lost[name].reason
                        if name in lost
                        else undiverse.get(name) or undiverse.get(passage.id, "not_chosen"),
                    )
                    for place, name in enumerate(ranked, start=1)
                ),
            )
        )
    return found_samples


def _kept(run: RunFolder, key: ShardKey) -> list[Any]:
    return list(run.read(key)) if run.complete(key) else []
