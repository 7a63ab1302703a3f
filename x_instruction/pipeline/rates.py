"""What a passage takes at the stages that ask a model, from a preview or a run that exists."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.engines import engine_spec
from x_instruction.engines.budget import cost
from x_instruction.engines.request_cache import answer_tokens
from x_instruction.pipeline.rounds import model_of
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import PASSAGE, ShardKey, StageKey

ASKED = (StageKey("candidate"), StageKey("rated"))
# 97.5 % quantiles of Student's t distribution, by degrees of freedom.
_T = {1: 12.7, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31}
# What the batches of a run take longer per passage than those of a preview, whose complete rows leave: measured on the
# demo with ``benchmarks/preview.py``.
_STATIC_BATCHES = 1.2
# Shards of a language that are read to see how much passages differ.
_SHARDS = 3


@dataclass(frozen=True, slots=True)
class PerPassage:
    """What one passage takes and gives at a stage, on average.

    Args:
        requests, prompt_tokens, output_tokens: that it takes.
        seconds: of one worker; for the server of a preview, of one request at a time.
        kept: rows that the stage keeps of it.
    """

    requests: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    seconds: float = 0.0
    kept: float = 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """What the passages of a language take at a stage.

    Args:
        seconds: of one worker.
        cost: by the recipe's prices.
    """

    requests: int
    prompt_tokens: int
    output_tokens: int
    seconds: float
    cost: float


class Rates:
    """What a run asked for a passage, by stage and language.

    Args:
        settings: the recipe.
        run: a preview, or a run with complete shards.
        languages: those that the run made.
    """

    def __init__(self, settings: Recipe, run: RunFolder, languages: Sequence[str]) -> None:
        self.recipe = settings
        self._run = run
        self._shards = {tag: self._complete(tag) for tag in languages}
        self.passages = {tag: sum(run.report(key).kept for key in keys) for tag, keys in self._shards.items()}
        self.by_language = {
            (stage, tag): self._per_passage(stage, tag)
            for stage in ASKED
            for tag, passages in self.passages.items()
            if passages
        }
        self.error = self._error()

    def of(self, stage: StageKey, tag: str) -> PerPassage:
        """For a language that the run did not make, the mean of the others."""
        if (stage, tag) in self.by_language:
            return self.by_language[stage, tag]
        others = [found for (made_at, _), found in self.by_language.items() if made_at == stage]
        names = [name.name for name in fields(PerPassage)] if others else []
        return PerPassage(**{name: statistics.fmean(getattr(found, name) for found in others) for name in names})

    def limit(self, tag: str) -> int | None:
        """The most passages that a run draws: ``corpus.passages``, or as many as the target of pairs needs."""
        limit, target = self.recipe.corpus.passages, self.recipe.diversify.target
        kept = self.of(ASKED[1], tag).kept
        if target is None or not kept:
            return limit
        needed = math.ceil(target / kept)
        return needed if limit is None else min(limit, needed)

    def work(self, stage: StageKey, tag: str, passages: float) -> Work:
        """What so many passages take at a stage."""
        per, model = self.of(stage, tag), model_of(self.recipe, stage)
        requests = round(per.requests * passages)
        tokens = round(per.prompt_tokens * passages), round(per.output_tokens * passages)
        return Work(
            requests,
            *tokens,
            per.seconds * passages / self._at_once(model, requests),
            0.0 if model is None else cost(model, *tokens),
        )

    def _complete(self, tag: str) -> list[ShardKey]:
        """Passage shards whose candidates are written and rated."""
        keys = self._run.shards(PASSAGE, tag)
        return [key for key in keys if all(self._run.complete(key.at(stage)) for stage in ASKED)]

    def _per_passage(self, stage: StageKey, tag: str) -> PerPassage:
        reports, passages = [self._run.report(key.at(stage)) for key in self._shards[tag]], self.passages[tag]
        model = model_of(self.recipe, stage)
        busy = sum(report.seconds * self._at_once(model, report.requests) for report in reports)
        if self._run.is_preview and model is not None and model.engine == "transformers":
            busy *= _STATIC_BATCHES
        return PerPassage(
            sum(report.requests for report in reports) / passages,
            sum(report.prompt_tokens for report in reports) / passages,
            sum(report.output_tokens for report in reports) / passages,
            busy / passages,
            sum(report.kept for report in reports) / passages,
        )

    def _at_once(self, model: Model | None, requests: int) -> int:
        """Requests that a server answers at the same time, where the few of a preview say how long it is busy for each.

        The shards of a run have many, and take what they took.
        """
        if model is None or not self._run.is_preview or not engine_spec(model).remote:
            return 1
        return max(1, min(requests, model.server.concurrency))

    def _error(self) -> float:
        """Relative half width of the 95 % interval of what a passage takes: its length, and candidates to rate."""
        lengths: list[float] = []
        kept: list[int] = []
        for key in (key for keys in self._shards.values() for key in keys[:_SHARDS]):
            tokens = [sum(pair) for pair in answer_tokens(self._run.cache(key.at(ASKED[0])))]
            # Languages differ in tokens per passage, which is known for each of them.
            lengths += [count / statistics.fmean(tokens) for count in tokens]
            counts = Counter(record.id for record in self._run.read(key.at(ASKED[0])))
            kept += [*counts.values(), *[0] * (self._run.report(key).kept - len(counts))]
        passages = sum(self.passages.values())
        if passages < 2:
            return 1.0
        # Requests of one passage are not independent, so each passage counts once.
        scale = _T.get(passages - 1, 1.96) / math.sqrt(passages)
        return scale * math.hypot(_spread(lengths), self._rated_share() * _spread(kept))

    def _rated_share(self) -> float:
        """The share of ratings in all tokens."""
        sums = {
            stage: sum(found.prompt_tokens for (made_at, _), found in self.by_language.items() if made_at == stage)
            for stage in ASKED
        }
        return sums[ASKED[1]] / (sum(sums.values()) or 1.0)


def _spread(values: Sequence[float]) -> float:
    """The standard deviation as a share of the mean."""
    mean = statistics.fmean(values) if values else 0.0
    return statistics.stdev(values) / mean if mean and len(values) > 1 else 0.0
