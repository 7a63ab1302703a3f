"""Top-up: more of the corpus is drawn until each language has ``diversify.target`` pairs.

Passages are drawn in steps of whole shards. A step follows from the shards that the steps before it made in the first
round, so no state is stored, and a run that is resumed or shared takes the same steps. The passages of a step begin
with those of the step before, so candidates and ratings that exist stay valid.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache

from x_instruction.config.corpus import Corpus
from x_instruction.config.recipe import Recipe
from x_instruction.corpus.shard_sizes import shard_count, shard_size
from x_instruction.diversify.rated_rows import COLUMNS, RatedRows
from x_instruction.errors import BudgetReached
from x_instruction.pipeline.rated_shards import RatedShards
from x_instruction.pipeline.rounds import stages
from x_instruction.storage.finished import Finished
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import PASSAGE, ShardKey, StageKey

CANDIDATE, RATED = StageKey("candidate"), StageKey("rated")
# A step draws so many times the passages that the share of kept pairs asks for, since shares differ.
_MARGIN = 1.1
# A step draws at most so many times as many passages as the one before, since a few shards tell the share only roughly.
_GROWTH = 4
_FILE = "target.json"
# Why no more is drawn for a language.
MET, ENDED, LIMIT, NOTHING, BUDGET, OPEN = (
    "target met",
    "corpus ended",
    "corpus.passages reached",
    "no pair kept",
    "budget spent",
    "not finished",
)


@dataclass(frozen=True, slots=True)
class Step:
    """The step that a language is at.

    Args:
        language: its tag.
        passages: the most passages to keep; None for all.
        rows: pairs kept in the first round, without repeated instructions.
        reason: why no more is drawn; ``not finished`` while it is.
    """

    language: str
    passages: int | None
    rows: int = 0
    reason: str = OPEN

    @property
    def final(self) -> bool:
        """Whether no step follows."""
        return self.reason != OPEN


def step(settings: Recipe, finished: Finished, tag: str) -> Step:
    """The step that a language is at.

    Args:
        settings: the recipe.
        finished: the complete shards of the run.
        tag: the language.
    """
    corpus, target = settings.corpus, settings.diversify.target
    if target is None:
        return Step(tag, corpus.passages, reason=MET)
    shards = _shards(corpus, target)
    while True:
        found = _step(finished, corpus, tag, target, shards)
        if found.final or not _complete(finished, tag, shards):
            return found
        passages = _passages(corpus, shards)
        needed = min(_GROWTH * passages, passages + _MARGIN * (target - found.rows) * passages / found.rows)
        shards = max(shards + 1, _shards(corpus, needed))


def _step(finished: Finished, corpus: Corpus, tag: str, target: int, shards: int) -> Step:
    """The step of so many shards, as far as it is made."""
    most = _passages(corpus, shards)
    limited = corpus.passages is not None and corpus.passages <= most
    most = corpus.passages if limited and corpus.passages is not None else most
    keys = _rated(finished, tag, shards)
    rows = _rows(finished, keys, target)
    if not _complete(finished, tag, shards):
        made = finished.run.count(PASSAGE, tag)
        ended = made is not None and _drawn(finished, tag) == most and _complete(finished, tag, made)
        return Step(tag, most, rows, (MET if rows >= target else ENDED) if ended else OPEN)
    if rows >= target:
        return Step(tag, most, rows, MET)
    last = finished.run.report(CANDIDATE.shard(tag, shards - 1))
    if last.rows_in < most - _passages(corpus, shards - 1):
        return Step(tag, most, rows, ENDED)
    if limited:
        return Step(tag, most, rows, LIMIT)
    return Step(tag, most, rows, OPEN if rows else NOTHING)


def _drawn(finished: Finished, tag: str) -> int | None:
    """The most passages with which those that exist were made."""
    first = PASSAGE.shard(tag)
    passages = finished.run.report(first).settings.get("corpus.passages") if finished.complete(first) else None
    return int(passages) if passages is not None else None


def _complete(finished: Finished, tag: str, shards: int) -> bool:
    return len(_rated(finished, tag, shards)) == shards


def _rated(finished: Finished, tag: str, shards: int) -> list[ShardKey]:
    return [key for index in range(shards) if finished.complete(key := RATED.shard(tag, index))]


def _rows(finished: Finished, keys: list[ShardKey], target: int) -> int:
    """Pairs of shards. Repeated instructions are looked for once there seem to be enough."""
    found = [finished.summary(key) for key in keys]
    rows = sum(summary.kept for summary in found)
    return rows if rows < target else _distinct(finished.run, tuple(keys), tuple(summary.digest for summary in found))


@cache
def _distinct(run: RunFolder, keys: tuple[ShardKey, ...], contents: tuple[str, ...]) -> int:
    """Pairs that a selection can choose from. Shards are known by their digests."""
    return len(RatedRows(RatedShards(run, keys, COLUMNS).table).kept)


def _passages(corpus: Corpus, shards: int) -> int:
    """Passages of the first shards of a language."""
    return sum(shard_size(corpus, index) for index in range(shards))


def _shards(corpus: Corpus, passages: float) -> int:
    """Shards that hold so many passages, and at most ``corpus.passages``."""
    return shard_count(corpus, math.ceil(passages if corpus.passages is None else min(passages, corpus.passages)))


class Steps:
    """The steps of all languages of a run at one moment.

    Args:
        settings: the recipe.
        finished: the complete shards of the run.
    """

    def __init__(self, settings: Recipe, finished: Finished) -> None:
        self.recipe = settings
        self.finished = finished
        self._steps: dict[str, Step] = {}

    def of(self, tag: str) -> Step:
        """The step of a language."""
        if tag not in self._steps:
            self._steps[tag] = step(self.recipe, self.finished, tag)
        return self._steps[tag]

    def outdated(self, tag: str) -> bool:
        """Whether the passages of a language were drawn by an earlier step."""
        if self.recipe.diversify.target is None or self.finished.run.count(PASSAGE, tag) is None:
            return False
        return self.of(tag).passages != _drawn(self.finished, tag)

    def all(self) -> list[Step]:
        """The steps of all languages; none without ``diversify.target``."""
        return [self.of(tag) for tag in self.recipe.languages] if self.recipe.diversify.target else []


def steps(run: RunFolder, settings: Recipe) -> Steps:
    """The steps of all languages now."""
    return Steps(settings, Finished(run))


def drawn_stages(run: RunFolder, settings: Recipe, until: str) -> Iterator[StageKey]:
    """The stages of a recipe in order; those of the first round again while a language draws more.

    Args:
        run: the run folder.
        settings: the recipe.
        until: the last stage. None follows the first ratings if they are its last round.
    """
    every = stages(settings)
    later = every.index(RATED) + 1
    before = None
    while (now := [step.passages for step in steps(run, settings).all()]) != before:
        before = now
        yield from every[:later]
    if until != "rated" or settings.refine.rounds:
        yield from every[later:]


def draws_more(run: RunFolder, settings: Recipe, after: StageKey) -> bool:
    """Whether a language draws more passages after a stage, which happens after the first ratings alone."""
    now = steps(run, settings)
    return after == RATED and any(now.outdated(step.language) for step in now.all())


def waits(run: RunFolder, settings: Recipe) -> list[str]:
    """Names of the ratings of languages that may draw more."""
    return [f"{RATED.path}/{step.language}" for step in steps(run, settings).all() if not step.final]


@contextmanager
def recorded(run: RunFolder, settings: Recipe, say: Callable[[str], None]) -> Iterator[None]:
    """Write the steps of all languages into the run folder when its work ends, also when its budget is spent.

    Args:
        run: the run folder.
        settings: the recipe.
        say: called with a line per language if the budget is spent.
    """
    try:
        yield
    except BudgetReached:
        found = [replace(step, reason=BUDGET) if not step.final else step for step in steps(run, settings).all()]
        _write(run, settings, found)
        for line in lines(found, settings):
            say(line)
        raise
    _write(run, settings, steps(run, settings).all())


def reached(run: RunFolder, settings: Recipe) -> list[Step]:
    """The steps of all languages now. A spent budget is the reason until the run continues."""
    found = steps(run, settings).all()
    earlier = found and run.read_json(_FILE, lambda table: [Step(**step) for step in table["languages"]], "remove it")
    return [stopped if (stopped := replace(step, reason=BUDGET)) in (earlier or []) else step for step in found]


def lines(found: list[Step], settings: Recipe) -> list[str]:
    """One line per language: its pairs, and why no more is drawn."""
    return [f"{step.language}: {step.rows:,} of {settings.diversify.target:,} pairs, {step.reason}" for step in found]


def _write(run: RunFolder, settings: Recipe, found: list[Step]) -> None:
    if found:
        table = {"target": settings.diversify.target, "languages": [asdict(step) for step in found]}
        run.write_file(_FILE, json.dumps(table, indent=1).encode())
