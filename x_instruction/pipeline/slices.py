"""The slices of the corpus that are to be made before the passages of a language.

Which slices are made decides how much is done in parallel, and never what the passages are: the worker that makes the
passages reads the slices that are there, and screens what is left of the corpus itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import Start, starts
from x_instruction.languages import language
from x_instruction.pipeline.worker import ShardTask, corpus_digest
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import SLICE, ShardKey

# With ``corpus.passages``, slices are made until they hold so many times as many passages: some are duplicates.
MARGIN = 1.1
# The first slices are enough for so much less, because a row may give several passages. As many times as many follow if
# they hold too few passages to tell how many are needed.
GROWTH = 4
ENOUGH = 1_000


class Slices:
    """The slices of every language, counted once.

    Args:
        run: the run folder.
        corpus: the corpus of the recipe.
        settings: the settings of the passages of a language.
    """

    def __init__(self, run: RunFolder, corpus: Corpus, settings: Callable[[str], dict[str, Any]]) -> None:
        self.run = run
        self.corpus = corpus
        self._settings = settings
        self._digests: dict[str, str] = {}
        self._starts: dict[str, tuple[list[Start], Iterator[Start]]] = {}
        # Passages of the slices that are made.
        self._kept: dict[ShardKey, int] = {}

    def left(self, tag: str) -> list[ShardTask]:
        """The slices that are to be made next. None for a corpus of one slice, and if enough slices are made.

        Slices that were made under other settings are removed.

        Raises:
            CorpusError: the corpus cannot be read.
        """
        corpus = self.corpus.replace(passages=self._settings(tag)["corpus.passages"])
        if corpus.source != "files" or (corpus.passages is not None and corpus.passages <= corpus.slice_rows):
            return []
        if corpus.passages is None:
            tasks = self._tasks(tag, None)
            if len(tasks) == 1:
                return []
            left = self._not_made(tag, tasks)
            if self.run.count(SLICE, tag) != len(tasks):
                self.run.finish(SLICE, tag, len(tasks))
            return left
        goal = MARGIN * corpus.passages
        number = max(2, corpus.passages // (GROWTH * corpus.slice_rows))
        while True:
            tasks = self._tasks(tag, number)
            left = self._not_made(tag, tasks) if len(tasks) > 1 else []
            if left or len(tasks) < number:
                return left
            kept = sum(self._kept[task.key] for task in tasks)
            if kept >= goal:
                return []
            growth = goal / kept if kept >= ENOUGH else GROWTH
            number = max(number + 1, math.ceil(number * growth))

    def _tasks(self, tag: str, number: int | None) -> list[ShardTask]:
        """The first slices of the corpus; all of them if the number is None."""
        if tag not in self._starts:
            self._starts[tag] = [], starts(self.corpus, language(tag))
            self._digests[tag] = corpus_digest(self._settings(tag))
        known, more = self._starts[tag]
        known += islice(more, None if number is None else max(0, number - len(known)))
        corpus = self._digests[tag]
        return [
            ShardTask(SLICE.shard(tag, index), {"corpus": corpus, "start": [start.file, start.row, start.before]})
            for index, start in enumerate(known[:number])
        ]

    def _not_made(self, tag: str, tasks: list[ShardTask]) -> list[ShardTask]:
        complete = self.run.listing(SLICE, tag).complete
        left = []
        for task in tasks:
            if task.key in self._kept:
                continue
            if task.key.index not in complete:
                left.append(task)
                continue
            report = self.run.report(task.key)
            if report.settings != task.settings:
                self.run.clear(SLICE, tag)
                return tasks
            self._kept[task.key] = report.kept
        return left
